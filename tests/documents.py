"""Reading the documents: which there are, and what stands in them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = tuple(sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md", *PAGES)


@cache
def text_of(document: str) -> str:
    """A document's text."""
    return (ROOT / document).read_text(encoding="utf-8")


def home(name: str) -> str:
    """The one document that has the part `<!-- name -->`."""
    found = [document for document in DOCUMENTS if f"<!-- {name} -->\n" in text_of(document)]
    assert len(found) == 1, f"the part <!-- {name} --> stands in {found}"
    return found[0]


def part(name: str) -> str:
    """What stands between `<!-- name -->` and `<!-- /name -->`, wherever that is."""
    document = home(name)
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", text_of(document), re.DOTALL)
    assert found, f"{document}: the part <!-- {name} --> is not closed"
    return found[1].strip() + "\n"


def blocks(language: str, document: str) -> list[str]:
    """The fenced code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(document), re.DOTALL | re.MULTILINE)


def prose(document: str) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text_of(document), flags=re.DOTALL | re.MULTILINE)


def cells(table: str) -> list[list[str]]:
    """The rows of a Markdown table without its head, back-quotes taken away."""
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    return [
        [cell.strip().replace("`", "").replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        for row in rows
    ]
