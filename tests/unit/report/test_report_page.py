"""The report as a page: it needs nothing else, runs nothing, and shows hostile text as text."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

import pytest
from reports import HOSTILE, a_report, an_error

from watcher.report.charts import Bar, ChartColumn, ChartPart, Charts
from watcher.report.html_pieces import MOST_ROWS
from watcher.report.page import page
from watcher.report.values import Report
from watcher.terminal.output import shown

_VOID = {"meta", "br"}


class Reader(HTMLParser):
    """Elements, attributes and text of a page; AssertionError when an element is not closed where it must be."""

    def __init__(self, document: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(document)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element of SVG without content."""
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """An element ends: the one that began last."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text."""
        self.text.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every such element."""
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.mark.parametrize("report", [a_report(), a_report(hostile=True), a_report(files=0), a_report(clean=True)])
def test_the_page_needs_nothing_and_runs_nothing(report: Report) -> None:
    """No script, no handler, no address; the policy allows its one style sheet and nothing else."""
    document = page(report)
    read = Reader(document)
    names = {name for name, _ in read.elements}
    assert not names & {"script", "img", "link", "iframe", "object", "embed", "form", "a", "base", "image", "use"}
    keys = {key for _, attributes in read.elements for key in attributes}
    assert not {key for key in keys if key.startswith("on")}
    assert not keys & {"style", "src", "href", "xlink:href", "action"}
    assert "url(" not in document
    assert "@import" not in document
    policy = next(each for each in read.named("meta") if each.get("http-equiv") == "Content-Security-Policy")
    styles = re.findall(r"<style>(.*?)</style>", document, re.DOTALL)
    assert len(styles) == 1
    digest = b64encode(sha256(styles[0].encode()).digest()).decode()
    assert policy["content"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert "prefers-color-scheme:dark" in styles[0]
    assert any(each.get("name") == "viewport" for each in read.named("meta"))


def test_hostile_text_is_shown_as_text() -> None:
    """Names, keys, messages and records stand there as they were, control characters made visible."""
    document = page(a_report(hostile=True))
    read = Reader(document)
    whole = "".join(read.text)
    assert shown(HOSTILE) in whole
    assert "<script>" in whole
    assert "<script" not in document
    assert "<img" not in document
    assert not any(char in document for char in "\x1b\r\x07\u202e")
    assert {len(text.splitlines()) for text in read.text if "alert" in text} == {1}


def test_charts_can_be_read_without_eyes() -> None:
    """Each chart has a title and a description of its own, and a table beside it."""
    read = Reader(page(a_report()))
    charts = [each for each in read.named("svg") if each.get("role") == "img"]
    assert len(charts) == 4
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for chart in charts:
        assert set((chart["aria-labelledby"] or "").split()) <= set(ids)
    assert len(read.named("table")) >= len(charts)
    assert len(read.named("caption")) == len(read.named("table"))
    assert all(each.get("scope") == "col" for each in read.named("th"))
    assert read.named("html")[0]["lang"] == "en"


def test_the_page_tells_what_the_terminal_tells() -> None:
    """Verdict, errors with their samples, nulls with their change, late, twice, silent, unknown, notes."""
    whole = " ".join(Reader(page(a_report())).text)
    for wanted in (
        "systemic: in 38 of 40 files",
        '{"speed": "fast"}',
        "2 % → 41 %",
        "have rescued fields",
        "3 after more than 1 h, 1 of them after more than 24 h",
        "2 primary keys",
        "vehicle_status: never seen",
        "gear",
        "the warehouse is away",
    ):
        assert wanted in whole, wanted
    assert "no file arrived" in "".join(Reader(page(a_report(files=0))).text)


def test_long_tables_say_what_they_leave_out() -> None:
    """A page stays a page: rows beyond the most are counted."""
    report = a_report(errors=[an_error()])
    report.unknown_fields = report.unknown_fields * (MOST_ROWS + 5)
    assert "… and 5 more" in "".join(Reader(page(report)).text)


def test_columns_are_as_high_as_their_values() -> None:
    """The highest column fills the chart; parts stand on each other; nothing is drawn for nothing."""
    columns = [
        ChartColumn("a", [ChartPart(1, "loaded", "one"), ChartPart(3, "failed", "three")]),
        ChartColumn("b", [ChartPart(0, "loaded", "none")]),
        ChartColumn("c", [ChartPart(2, "loaded", "two")]),
    ]
    drawn = Reader(Charts().columns("t", "d", columns, "4", 4)).named("rect")
    assert [(each["class"], float(each["height"] or 0), float(each["y"] or 0)) for each in drawn] == [
        ("loaded", 40, 136),
        ("failed", 120, 16),
        ("loaded", 80, 96),
    ]
    assert Charts().columns("t", "d", [], "0", 0) == ""


def test_bars_stay_within_their_track() -> None:
    """A bar is its part of the whole; a mark shows where it was before."""
    read = Reader(Charts().bars("t", "d", [Bar("a", 0.25, "25 %", 0.5), Bar("b", 7.0, "much")]))
    assert [each["width"] for each in read.named("rect") if each["class"] == "bar"] == ["25.00%", "100.00%"]
    assert [each["x1"] for each in read.named("line")] == ["50.00%"]
