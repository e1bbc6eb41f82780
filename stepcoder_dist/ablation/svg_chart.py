"""A line chart with bands as SVG: plain text, the same for the same data, read by any browser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

COLOURS = ("#5a6170", "#a8571b", "#5b4fae", "#1f6fb2", "#0f6a62", "#b8860b", "#8a3560", "#2f2f2f")
"""By place; the report's page has the same family."""
DASHES = ("", "7 3", "2 3", "9 3 2 3")

WIDTH, HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 34, 42
_ROW = 17
"""Height of a line of the legend."""
_NAMES_IN_A_ROW = 3
_TICKS = 5
_PERCENT_FROM = 0.05
"""Steps between the ticks of a percentage are written without decimals from here on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One arm. The band is the lowest and the highest of its seeds; all of one length."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def chart(title: str, x_title: str, lines: Sequence[Line], *, percent: bool) -> str:
    """Draw the lines over a common grid; `percent` writes 0.25 as 25%.

    A name's colour and dash follow from its place, so give the lines in one order everywhere.
    """
    xs = [x for line in lines for x in line.x] or [0.0]
    ys = [y for line in lines for y in (*line.low, *line.high)] or [0.0]
    x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))
    legend = math.ceil(len(lines) / _NAMES_IN_A_ROW) * _ROW + _ROW // 2
    # across, the data fills the frame: samples are no round numbers
    left, right = (min(xs), max(xs)) if max(xs) > min(xs) else (x_ticks[0], x_ticks[-1])
    x_ticks = [x for x in x_ticks if left <= x <= right]
    frame = _Frame(left, right, y_ticks[0], y_ticks[-1])
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + legend}" '
            f'width="{WIDTH}" height="{HEIGHT + legend}" role="img" font-family="sans-serif" '
            'font-size="12" fill="#1c2128">'
        ),
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT + legend}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="20" font-size="14" font-weight="600">{escape(title)}</text>',
        *_grid(frame, x_ticks, y_ticks, percent=percent),
        (
            f'<text x="{(_LEFT + WIDTH - _RIGHT) / 2:g}" y="{HEIGHT - 6}" text-anchor="middle">'
            f"{escape(x_title)}</text>"
        ),
    ]
    for place, line in enumerate(lines):
        parts += _drawn(frame, line, place)
    for place, line in enumerate(lines):
        parts += _legend(line.name, place)
    return "\n".join([*parts, "</svg>"]) + "\n"


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from at most `low` to at least `high`, about five of them."""
    if high <= low:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1.0, 2.0, 2.5, 5.0, 10.0) if s * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class _Frame:
    """The data's range, laid over the drawing's."""

    x0: float
    x1: float
    y0: float
    y1: float

    def at(self, x: float, y: float) -> str:
        return f"{self.across(x)},{self.up(y)}"

    def across(self, x: float) -> str:
        return f"{_LEFT + (x - self.x0) / (self.x1 - self.x0) * (WIDTH - _LEFT - _RIGHT):.1f}"

    def up(self, y: float) -> str:
        share = (y - self.y0) / (self.y1 - self.y0)
        return f"{HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM):.1f}"


def _grid(
    frame: _Frame, x_ticks: Sequence[float], y_ticks: Sequence[float], *, percent: bool
) -> list[str]:
    decimals = 0 if len(y_ticks) < 2 or y_ticks[1] - y_ticks[0] >= _PERCENT_FROM else 1  # noqa: PLR2004
    parts = []
    for y in y_ticks:
        up = frame.up(y)
        label = f"{100 * y:.{decimals}f}%" if percent else f"{y:g}"
        parts.append(
            f'<path d="M{_LEFT},{up}H{WIDTH - _RIGHT}" stroke="#e3dfd5" fill="none"/>'
            f'<text x="{_LEFT - 7}" y="{float(up) + 4:g}" text-anchor="end">{label}</text>'
        )
    parts += [
        f'<text x="{frame.across(x)}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">{x:g}</text>'
        for x in x_ticks
    ]
    return parts


def _drawn(frame: _Frame, line: Line, place: int) -> list[str]:
    colour = COLOURS[place % len(COLOURS)]
    there = [frame.at(x, y) for x, y in zip(line.x, line.high, strict=True)]
    back = [frame.at(x, y) for x, y in zip(line.x, line.low, strict=True)][::-1]
    path = [frame.at(x, y) for x, y in zip(line.x, line.y, strict=True)]
    if not path:
        return []
    band = (
        f'<path d="M{"L".join(there + back)}Z" fill="{colour}" fill-opacity="0.13" stroke="none"/>'
    )
    stroke = f'stroke="{colour}" stroke-width="2" fill="none"{_dash(place)}'
    # a line of one point has no length: its round end is what is seen of it
    return [band, f'<path d="M{"L".join([*path, path[-1]])}" {stroke} stroke-linecap="round"/>']


def _legend(name: str, place: int) -> list[str]:
    x = _LEFT + place % _NAMES_IN_A_ROW * (WIDTH - _LEFT - _RIGHT) / _NAMES_IN_A_ROW
    y = HEIGHT + place // _NAMES_IN_A_ROW * _ROW + _ROW - 3
    colour = COLOURS[place % len(COLOURS)]
    return [
        (
            f'<path d="M{x:g},{y - 4}h22" stroke="{colour}" stroke-width="2"{_dash(place)}/>'
            f'<text x="{x + 27:g}" y="{y}">{escape(name)}</text>'
        )
    ]


def _dash(place: int) -> str:
    dash = DASHES[place % len(DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""
