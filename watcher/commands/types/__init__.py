"""The sub-verbs of `lemonade types`."""
