"""Charts as inline SVG: no script, no style of their own, lengths in per cent so that text keeps its size on a phone.

Every text that comes in is escaped here; every chart has a title and a description, every bar a title of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import count

from watcher.terminal.output import shown

_HEIGHT = 160
_LABELS = 6
_ROW = 40


@dataclass(frozen=True)
class ChartPart:
    """A piece of a column: its class gives the colour."""

    value: float
    css: str
    title: str


@dataclass(frozen=True)
class ChartColumn:
    """One column of a chart over time."""

    label: str
    parts: Sequence[ChartPart]


@dataclass(frozen=True)
class Bar:
    """One bar, from 0 to 1; `mark` is where it was before."""

    label: str
    value: float
    text: str
    mark: float | None = None
    css: str = "bar"


def text(value: object) -> str:
    """Text of producers as HTML: one line, nothing invisible, nothing that is markup."""
    return escape(shown(value), quote=True)


class Charts:
    """Draws; counts its charts, for their titles need ids of their own."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def columns(self, title: str, about: str, columns: Sequence[ChartColumn], top: str, most: float) -> str:
        """Columns side by side in the order of time; `top` says what the highest line stands for."""
        if not columns:
            return ""
        width = 100 / len(columns)
        gap = min(width * 0.15, 0.6)
        drawn = []
        for number, column in enumerate(columns):
            below = 0.0
            for part in column.parts:
                height = _HEIGHT * part.value / most if most > 0 else 0.0
                if height <= 0:
                    continue
                height = max(height, 1.0)
                y = max(_HEIGHT - below - height, 0.0) + 16
                drawn.append(
                    f'<rect class="{part.css}" x="{number * width + gap / 2:.3f}%" y="{y:.1f}" '
                    f'width="{width - gap:.3f}%" height="{height:.1f}"><title>{text(part.title)}</title></rect>'
                )
                below += height
        every = -(-len(columns) // _LABELS)
        labels = "".join(
            f'<text x="{(number + 0.5) * width:.3f}%" y="{_HEIGHT + 34}" text-anchor="{_anchor(number, len(columns))}">'
            f"{text(columns[number].label)}</text>"
            for number in range(0, len(columns), every)
        )
        axis = (
            f'<line class="axis" x1="0" x2="100%" y1="16" y2="16"/><text x="0" y="12">{text(top)}</text>'
            f'<line class="axis" x1="0" x2="100%" y1="{_HEIGHT + 16}" y2="{_HEIGHT + 16}"/>'
        )
        return self._svg(title, about, _HEIGHT + 42, axis + "".join(drawn) + labels)

    def bars(self, title: str, about: str, bars: Sequence[Bar]) -> str:
        """Bars one below the other, the label above each."""
        if not bars:
            return ""
        drawn = []
        for number, bar in enumerate(bars):
            y = number * _ROW
            value = min(max(bar.value, 0.0), 1.0) * 100
            drawn.append(
                f'<text x="0" y="{y + 14}">{text(bar.label)}</text>'
                f'<text x="100%" y="{y + 14}" text-anchor="end">{text(bar.text)}</text>'
                f'<rect class="track" x="0" y="{y + 20}" width="100%" height="10"/>'
                f'<rect class="{bar.css}" x="0" y="{y + 20}" width="{value:.2f}%" height="10">'
                f"<title>{text(bar.label)}: {text(bar.text)}</title></rect>"
            )
            if bar.mark is not None:
                at = min(max(bar.mark, 0.0), 1.0) * 100
                drawn.append(
                    f'<line class="mark" x1="{at:.2f}%" x2="{at:.2f}%" y1="{y + 17}" y2="{y + 33}">'
                    f"<title>{text(bar.label)}: before</title></line>"
                )
        return self._svg(title, about, len(bars) * _ROW, "".join(drawn))

    def _svg(self, title: str, about: str, height: int, drawn: str) -> str:
        number = next(self._numbers)
        return (
            f'<svg role="img" aria-labelledby="chart-{number}-title chart-{number}-about" width="100%" '
            f'height="{height}"><title id="chart-{number}-title">{text(title)}</title>'
            f'<desc id="chart-{number}-about">{text(about)}</desc>{drawn}</svg>'
        )


def _anchor(number: int, of: int) -> str:
    if of == 1:
        return "middle"
    return "start" if number == 0 else "end" if number == of - 1 else "middle"
