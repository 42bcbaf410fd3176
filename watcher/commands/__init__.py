"""The verbs of the command line, one file each, with what the daemon does for it; not what several share."""
