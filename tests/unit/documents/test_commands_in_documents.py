"""Every command that a document shows can be typed."""

from __future__ import annotations

import re
import shlex

import click
import pytest
from documents import DOCUMENTS, blocks, prose, text_of

from watcher import cli

_COMMAND = re.compile(r"(?:^|[\s`(])(?:\.venv/bin/)?lemonade ((?:-C \S+ )?[a-z][^`\n]*)")


def mentioned(document: str) -> list[str]:
    """What follows `lemonade ` wherever a command is shown, outside of generated tables and transcripts."""
    shown = re.sub(r"<!-- (verbs|transcript) -->.*?<!-- /\1 -->", "", text_of(document), flags=re.DOTALL)
    in_code = re.findall(r"^```sh\n(.*?)^```", shown, re.DOTALL | re.MULTILINE)
    in_code += [f"{code}\n" for code in re.findall(r"`([^`\n]+)`", re.sub(r"(?s)```.*?```", "", shown))]
    return [found.strip() for code in in_code for found in _COMMAND.findall(code)]


def words_of(command: str) -> list[str]:
    """A shown command's words, up to what is the shell's."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in iter(lexer.get_token, None):
        if word in (";", "&&", "||", "|", "&", ">", ">>", "<"):
            break
        words.append(word)
    return words


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words name, and the rest of them."""
    if words[0] == "-C":
        words = words[2:]
    command: click.Command | None = cli.group
    while isinstance(command, click.Group) and words:
        name, *words = words
        command = command.get_command(click.Context(command), name)
        assert command is not None, f"there is no verb {name}"
    assert command is not None
    return command, words


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_that_is_shown_exists(document: str) -> None:
    """Each `lemonade VERB --option` of a document is a verb with that option."""
    for shown in mentioned(document):
        command, rest = resolve(words_of(shown))
        options = {name for each in command.params for name in each.opts} | {"-h", "--help"}
        for word in rest:
            if word.startswith("-") and word != "-":
                assert word.split("=")[0] in options, f"{document}: lemonade {shown}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_to_copy_parses(document: str) -> None:
    """Each line of a shell block is a whole command line: click takes it as it stands."""
    for block in blocks("sh", document):
        for shown in _COMMAND.findall(block):
            command, rest = resolve(words_of(shown))
            command.make_context("lemonade", rest)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_exist(document: str) -> None:
    """Each `make TARGET` of a document is in the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))
    in_code = "\n".join(re.findall(r"`[^`\n]+`", prose(document)) + blocks("sh", document))
    shown = set(re.findall(r"\bmake (?:PYTHON=\S+ )?([a-z]+)", in_code))
    assert shown <= targets


def test_ci_runs_the_readmes_test_command() -> None:
    """What CI runs is `make test`, the command that the README gives, and it builds the site."""
    assert re.search(r"^make test$", text_of(".ci/run"), re.MULTILINE)
    assert re.search(r"^make .*\bdocs\b", text_of(".ci/run"), re.MULTILINE)
    assert "make test" in blocks("sh", "README.md")[0]
