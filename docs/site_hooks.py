"""Hooks of MkDocs: one page of the reference for each package of the rooms, made from the folders that are there.

So a module that is added, moved or taken away needs no line in any list. The pages exist only while the site is built.
The others smooth out where the site's Markdown differs, and keep the theme's script from fetching anything.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from griffe import Docstring, Extension, Object
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("watcher", "processors", "metadata")
_LEFT_OUT = ("migrations", "__pycache__")
_ELSEWHERE = re.compile(r"https://(?:unpkg\.com|api\.github\.com|\$\{\w+\}/api)/")
_CODE = re.compile(r"`[^`\n]+`")
_TAG_OUTSIDE_OF_CODE = re.compile(r"(`[^`]*`)|<(?=[a-z/])", re.IGNORECASE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the reference behind the pages that were written by hand."""
    config.nav = [*(config.nav or []), {"Reference": [{room: _entries(ROOT / room)} for room in ROOMS]}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Make the pages."""
    for room in ROOMS:
        for package in _packages(ROOT / room):
            files.append(File.generated(config, _page_of(package), content=_text_of(package)))
    return files


def on_post_build(config: MkDocsConfig) -> None:
    """Take the addresses out of the theme's script at which it looks for what this site does not use.

    Those are Mermaid, a stand-in for old browsers, and a repository's count of stars.
    """
    for script in Path(config.site_dir).glob("assets/javascripts/bundle.*.js"):
        script.write_text(_ELSEWHERE.sub("./not-on-this-site/", script.read_text(encoding="utf-8")), encoding="utf-8")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Within code a bar is written with a backslash in tables, which GitHub takes away and the site would show."""
    return _CODE.sub(lambda code: code[0].replace("\\|", "|"), markdown)


class SaidInSource(Extension):
    """What the sources say of a name, as it is meant."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Take the `#:` comment of a member for its docstring; escape tags outside of code."""
        if obj.is_attribute and not obj.docstring and obj.lineno:
            line = obj.lines_collection[obj.filepath][obj.lineno - 1]
            if comment := line.partition("  #: ")[2]:
                obj.docstring = Docstring(comment, parent=obj, lineno=obj.lineno)
        if obj.docstring:
            obj.docstring.value = _TAG_OUTSIDE_OF_CODE.sub(lambda hit: hit[1] or "&lt;", obj.docstring.value)


def _packages(folder: Path) -> list[Path]:
    """A package and all below it."""
    inner = [path for path in sorted(folder.iterdir()) if (path / "__init__.py").is_file()]
    return [folder, *(each for path in inner if path.name not in _LEFT_OUT for each in _packages(path))]


def _entries(room: Path) -> list[Any]:
    """A room's lines of the navigation: its own page first, then its packages."""
    first, *others = _packages(room)
    return [_page_of(first), *({_dotted(each).partition(".")[2]: _page_of(each)} for each in others)]


def _page_of(package: Path) -> str:
    """Where a package's page is. A folder of its own for each room, as its overview is that folder's index."""
    inner = package.relative_to(ROOT).parts
    return "/".join(("reference", *inner, "index.md")) if len(inner) == 1 else f"reference/{'/'.join(inner)}.md"


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def _text_of(package: Path) -> str:
    """A package's page: what its `__init__.py` says, then each of its modules."""
    modules = [path for path in sorted(package.glob("*.py")) if path.stem not in ("__init__", "__main__")]
    whole = [f"# {_dotted(package)}\n\n::: {_dotted(package)}\n    options:\n      show_root_heading: false\n"]
    whole[0] += "      show_root_toc_entry: false\n"
    return "\n".join(whole + [f"::: {_dotted(module)}\n" for module in modules])
