"""`lemonade check`: what would become of files, before anybody drops them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watcher.terminal.draft_facts import facts_lines
from watcher.terminal.output import JSON_OPTION, print_json, shown

if TYPE_CHECKING:
    from processors.drafts.schema_draft import Draft
    from watcher.app import App
    from watcher.deeds.check import Checked, CheckedKey, CheckReport, Reason


@click.command()
@click.argument("paths", metavar="PATH…", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--type", "file_type", help="Check against this type, whatever the files are called.")
@JSON_OPTION
@click.pass_obj
def check(app: App, paths: tuple[Path, ...], file_type: str | None, as_json: bool) -> None:
    """Dry run: what would load of files and folders, what would be rejected and why. Writes nothing.

    Exit 1 when any record would be rejected, or any file refused.
    """
    from watcher.deeds.check import Checker

    report = Checker(app.settings, app.ledger, app.registry.read()).check(paths, file_type)
    if as_json:
        print_json(_answer(report))
    else:
        _print(report)
    if any(file.is_bad for file in report.files):
        raise click.exceptions.Exit(1)


def _answer(report: CheckReport) -> dict[str, Any]:
    return {
        "files": [asdict(file) for file in report.files],
        "drafts": {name: {"draft": made.raw, "facts": made.facts} for name, made in report.drafts.items()},
        "totals": _totals(report),
    }


def _totals(report: CheckReport) -> dict[str, int]:
    files = report.files
    verdicts = dict.fromkeys(("loads", "rejects", "error", "refused", "duplicate", "held", "left"), 0)
    for file in files:
        verdicts[file.verdict] += 1
    sums = {name: sum(getattr(file, name) for file in files) for name in ("records", "rows", "rejected")}
    return {"files": len(files), **verdicts, **sums}


def _print(report: CheckReport) -> None:
    for file in report.files:
        _print_file(file)
    for name, made in report.drafts.items():
        _print_draft(name, made)
    totals = _totals(report)
    if not report.files:
        click.echo("no data file there")
        return
    parts = [f"{totals[verdict]} {words}" for verdict, words in _WORDS.items() if totals[verdict]]
    click.echo(f"\n{_many(totals['files'], 'file')}: {', '.join(parts)}")
    click.echo(f"{_many(totals['records'], 'record')}: {totals['rows']} rows, {totals['rejected']} rejected")


_WORDS = {
    "loads": "would load",
    "rejects": "would load with rejected records",
    "error": "beyond the limit of rejected records",
    "refused": "would be refused",
    "duplicate": "delivered before",
    "held": "would be held",
    "left": "left alone",
}


def _print_file(file: Checked) -> None:
    counts = f"{_many(file.records, 'record')}, {_many(file.rows, 'row')}"
    counts += f", {file.rejected} rejected" if file.rejected else ""
    what = {"refused": f"refused, {file.code}", "duplicate": "duplicate", "left": "left alone"}.get(file.verdict)
    if file.verdict == "held":
        what = f"held; {counts}" if file.records else "held"
    click.echo(f"{shown(file.path)}  {file.file_type or '-'}  {what or counts}")
    if file.message:
        click.echo(f"    {shown(file.message)}")
    for reason in file.reasons:
        click.echo(f"    {_reason(reason)}")
    for unknown in file.unknown:
        click.echo(f"    {_unknown(unknown)}")


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _reason(reason: Reason) -> str:
    numbers = ", ".join(map(str, reason.record_nos)) + (", …" if reason.records > len(reason.record_nos) else "")
    return (
        f"{reason.code}  {reason.field or '-'}  {_many(reason.records, 'record')} ({numbers}): {shown(reason.message)}"
    )


def _unknown(unknown: CheckedKey) -> str:
    proposal = "" if unknown.field is None else f"; a field for it: {json.dumps(unknown.field, ensure_ascii=False)}"
    return (
        f"unknown  {shown(unknown.key)}  {_many(unknown.records, 'record')}, such as {shown(unknown.sample)}{proposal}"
    )


def _print_draft(name: str, made: Draft) -> None:
    click.echo(f"\n{name} has no schema; its draft:")
    for line in facts_lines(made.facts):
        click.echo(f"    {line}")
