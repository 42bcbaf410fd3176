"""The manual as a site: it builds strictly, and no page needs another host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from documents import PAGES, ROOT

_ELSEWHERE = re.compile(r"^\s*(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
_LOADING_LINKS = {
    "stylesheet",
    "icon",
    "preload",
    "prefetch",
    "preconnect",
    "dns-prefetch",
    "modulepreload",
    "manifest",
}
_SHOWN = (
    "a article aside b body br button code div em fieldset footer form h1 h2 h3 h4 h5 h6 head header hr html i img "
    "input label li link main meta nav noscript ol p path pre script small span strong style svg table tbody td th "
    "thead title tr ul"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it, elsewhere."""
    folder = tmp_path_factory.mktemp("built") / "site"
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


class Page(HTMLParser):
    """What a page loads, which tags it has, and its text outside of code."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the tag loads."""
        given = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        if tag in ("script", "style", "code", "pre"):
            self._inside.append(tag)
        if tag != "link" or _LOADING_LINKS & set(given.get("rel", "").split()):
            names = ("src", "poster", "data", "xlink:href") + (() if tag in ("a", "area", "base") else ("href",))
            self.loads += [given[name] for name in names if name in given]
            self.loads += [each.split()[0] for each in given.get("srcset", "").split(",") if each.strip()]
        self.loads += in_style(given.get("style", ""))

    def handle_endtag(self, tag: str) -> None:
        """Leave code, script or style."""
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        """Note words, and what styles and scripts within the page load."""
        if not self._inside:
            self.words.append(data)
        elif self._inside[-1] == "style":
            self.loads += in_style(data)
        elif self._inside[-1] == "script":
            self.loads += in_script(data)


def in_style(text: str) -> list[str]:
    """What a style sheet loads."""
    return [first or second for first, second in re.findall(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""", text)]


def in_script(text: str) -> list[str]:
    """The addresses in a script's texts, comments aside; names of XML namespaces load nothing."""
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    found: list[str] = re.findall(r"""["'`]((?:(?:https?|wss?)://|//[\w-]+\.)[^"'`\s]*)""", code)
    return [address for address in found if not address.startswith("http://www.w3.org/")]


LOADED = {
    ".html": lambda text: Page(text).loads,
    ".css": in_style,
    ".js": in_script,
    ".svg": lambda text: Page(text).loads,
}


def loaded_from_elsewhere(site: Path) -> list[str]:
    """Each file of a site with what it loads from another host."""
    return [
        f"{path.relative_to(site)}: {address}"
        for path in sorted(site.rglob("*"))
        if path.suffix in LOADED
        for address in LOADED[path.suffix](path.read_text(encoding="utf-8"))
        if _ELSEWHERE.match(address)
    ]


def test_site_has_every_page(site: Path) -> None:
    """Each page of the manual, a reference of each room, and what the search looks in, are in the site."""
    built = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    assert {f"{Path(page).stem}.html" for page in PAGES} <= built
    assert {f"reference/{room}/index.html" for room in ("watcher", "processors", "metadata")} <= built
    assert "Injected time" in (site / "search/search_index.json").read_text(encoding="utf-8")


def test_reference_has_members_that_are_explained_beside_them(site: Path) -> None:
    """The `#:` comments of states and events are in the reference, as docstrings are."""
    pages = "".join(path.read_text(encoding="utf-8") for path in (site / "reference").rglob("*.html"))
    assert "its files are fixed; nothing is promised yet" in pages


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    """Fonts, scripts, styles and pictures all come with the site."""
    assert loaded_from_elsewhere(site) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", '<script src="https://cdn.example/x.js"></script>'),
        ("a.html", '<link rel="stylesheet" href="//fonts.example/css">'),
        ("a.html", '<img srcset="x.png 1x, https://cdn.example/y.png 2x">'),
        ("a.html", '<p style="background: url(https://cdn.example/z.png)">'),
        ("a.html", '<script>fetch("https://cdn.example/data")</script>'),
        ("a.css", '@import "https://fonts.example/css";'),
        ("a.css", "@font-face { src: url('//fonts.example/x.woff2') }"),
        ("a.js", 'import("https://cdn.example/x.mjs")'),
        ("a.svg", '<svg><image href="https://cdn.example/x.png"/></svg>'),
    ],
)
def test_what_comes_from_another_host_is_noticed(tmp_path: Path, name: str, text: str) -> None:
    """What the test above goes by sees each way of loading something."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert len(loaded_from_elsewhere(tmp_path)) == 1


def test_a_link_to_another_host_is_no_load(tmp_path: Path) -> None:
    """A reader may be led elsewhere, as long as that is the reader's step."""
    (tmp_path / "a.html").write_text('<a href="https://docs.example/">there</a>', encoding="utf-8")
    (tmp_path / "a.js").write_text("/* https://home.example */ // see https://home.example", encoding="utf-8")
    assert loaded_from_elsewhere(tmp_path) == []


def test_no_page_shows_markdown_or_swallows_words(site: Path) -> None:
    """Tables, fences and emphasis became HTML, and `<prefix>` in a text did not become a tag."""
    wrong = []
    for path in sorted(site.rglob("*.html")):
        text = path.read_text(encoding="utf-8")
        page = Page(text)
        wrong += [f"{path.relative_to(site)}: \\|"] if "\\|" in text else []
        wrong += [f"{path.relative_to(site)}: <{tag}>" for tag in page.tags - set(_SHOWN.split())]
        wrong += [
            f"{path.relative_to(site)}: {words}" for words in page.words if re.search(r"\| ---|```|\*\*|\]\(", words)
        ]
    assert wrong == []
