"""`lemonade types`: file types, their names, their fields, where their rows go; a file a sub-verb, and nothing else."""
