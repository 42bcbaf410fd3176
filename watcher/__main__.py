"""`python -m watcher` is the `lemonade` command."""

from watcher.cli import main

main()
