"""The daemon's threads and its schedule; not the work that they do."""
