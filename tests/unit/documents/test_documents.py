"""What documents name is there: links, headings, paths, modules; and what they must not name is not."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from documents import DOCUMENTS, ROOT, home, prose, text_of

_ROOMS = "metadata|processors|watcher"


def slugs(document: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    """Each link within the repository names a file that is there, and a heading in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / document).parent / path if path else ROOT / document
        assert file.exists(), f"{document}: {target}"
        if anchor:
            assert anchor in slugs(str(file.resolve().relative_to(ROOT))), f"{document}: {target}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_that_are_named_exist(document: str) -> None:
    """Each path to tests, pages, benchmarks or a file of the root is there."""
    for path in re.findall(r"`((?:tests|docs|benchmarks)/[\w./]*|[a-z_]+\.(?:conf|toml|lock|yml))`", prose(document)):
        assert (ROOT / path).exists(), f"{document}: {path}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_modules_that_are_named_exist(document: str) -> None:
    """Each path into the rooms is there, and each dotted name is a package, a module or a name in one."""
    missing = [path for path in re.findall(rf"`((?:{_ROOMS})/[\w./]*)`", prose(document)) if not (ROOT / path).exists()]
    dotted = re.findall(rf"`((?:{_ROOMS})(?!\.db`)(?:\.\w+)+)`", prose(document))
    dotted += re.findall(rf"^(?:from|import) ((?:{_ROOMS})(?:\.\w+)+)", text_of(document), re.MULTILINE)
    missing += [name for name in dotted if not is_there(name)]
    assert missing == []


def test_every_package_is_drawn_and_described() -> None:
    """Each package of the rooms is a box in the picture of the rooms and a line in the table of CONTRIBUTING.md."""
    packages = {path.parent for room in _ROOMS.split("|") for path in (ROOT / room).glob("*/__init__.py")}
    drawn = set(re.findall(r'class="name"[^>]*>(\w+)<', text_of("docs/images/rooms.svg")))
    assert {package.name for package in packages} <= drawn
    for package in packages:
        assert f"\n| `{package.relative_to(ROOT)}/` |" in text_of("CONTRIBUTING.md")


def is_there(name: str) -> bool:
    """Whether a dotted name leads to a package, a module, or a class, function or value in one."""
    path, rest = ROOT, name.split(".")
    while rest and (path / rest[0]).is_dir():
        path, rest = path / rest[0], rest[1:]
    if not rest:
        return True
    if (path / f"{rest[0]}.py").is_file():
        path, rest = path / f"{rest[0]}.py", rest[1:]
    else:
        path = path / "__init__.py"
    names = "|".join(map(re.escape, rest[:1]))
    return not rest or bool(
        re.search(rf"^(?:class |def )?(?:{names})\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    )


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("metadata", True),
        ("metadata.clock", True),
        ("metadata.clock.Clock", True),
        ("metadata.clock.Sundial", False),
        ("metadata.sundial", False),
    ],
)
def test_a_module_that_is_not_there_is_noticed(name: str, there: bool) -> None:
    """What the test above goes by tells names that exist from those that do not."""
    assert is_there(name) is there


def test_readme_is_a_door() -> None:
    """The README has fewer than 250 lines, the transcript of the demo, and a link to each page of the manual."""
    readme = text_of("README.md")
    assert len(readme.splitlines()) < 250
    assert home("transcript") == "README.md"
    pages = {document for document in DOCUMENTS if document.startswith("docs/")}
    assert pages <= {target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", readme)}


def test_every_part_is_closed() -> None:
    """Every `<!-- part -->` of the documents is closed, so that no table can be lost."""
    for document in DOCUMENTS:
        opened = re.findall(r"<!-- ([a-z ]+) -->", text_of(document))
        closed = re.findall(r"<!-- /([a-z ]+) -->", text_of(document))
        assert opened == closed, document


def tracked() -> list[Path]:
    """The repository's text files: those of git where it is one, else everything but hidden and made folders."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0:
        return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    made = ("data", "demo", "build", "dist", "site")
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") or part in made for part in path.relative_to(ROOT).parts[:-1])
        and path.suffix in (".py", ".md", ".toml", ".lock", ".conf", ".properties", ".yml", ".svg", ".css")
    ]


def test_nothing_names_the_machine_it_was_written_on() -> None:
    """No file holds somebody's home or checkout, or a package index."""
    somebodys = re.compile(r"(?<![\w.~}>%)-])/(?:root|home|Users|work|workspace|mnt)/\w")
    index = re.compile(r"(?<!no-emit-)index[-]url|trusted[-]host|find[-]links")
    found = []
    for path in tracked():
        if path == Path(__file__).resolve() or path.suffix in (".gz", ".zst", ".bz2", ".parquet"):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {hit[0]}" for hit in (somebodys.search(text), index.search(text)) if hit]
        if path.suffix == ".lock" and "://" in text:
            found.append(f"{path.relative_to(ROOT)}: names a host")
    assert found == []
