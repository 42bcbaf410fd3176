"""Questions before something is changed that cannot be changed back by the same command."""

from __future__ import annotations

import sys

import click

from metadata.errors import UsageError


def agree(operation: str, question: str, yes: bool) -> None:
    """Ask on a terminal unless `yes` was said; without a terminal, UsageError; Abort when the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{operation}: nothing was changed; without a terminal, say --yes")
    click.confirm(question, abort=True, err=True)
