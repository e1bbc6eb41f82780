"""A line chart with bands as SVG, drawn by matplotlib: the same bytes for the same data."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from matplotlib.typing import RcKeyType

COLOURS = ("#5a6170", "#a8571b", "#5b4fae", "#1f6fb2", "#0f6a62", "#b8860b", "#8a3560", "#2f2f2f")
"""By place; the report's page has the same family."""
DASHES = ("-", (0, (3.5, 1.5)), (0, (1, 1.5)), (0, (4.5, 1.5, 1, 1.5)))
"""By place: matplotlib's line styles."""

SIZE_IN = (8.0, 4.5)
_NAMES_IN_A_ROW = 3
_TICKS = 6
"""Steps between ticks at most, each a multiple of one of `_ROUND`."""
_ROUND = (1, 2, 2.5, 5, 10)
_STYLE: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, and read aloud
    "svg.hashsalt": "stepcoder",  # names of clip paths are otherwise random
    "font.sans-serif": ["DejaVu Sans"],  # it comes with matplotlib; a browser takes what it has
    "text.parse_math": False,  # a name is no formula
    "text.color": "#1c2128",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e3dfd5",
    "axes.axisbelow": True,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.xmargin": 0.0,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "lines.solid_capstyle": "round",
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
}


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
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=SIZE_IN, layout="constrained")
        axes = figure.subplots()
        axes.set_title(title)
        axes.set_xlabel(x_title)
        axes.locator_params(nbins=_TICKS, steps=_ROUND)
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(xmax=1.0))
        for place, line in enumerate(lines):
            colour = COLOURS[place % len(COLOURS)]
            axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.13, linewidth=0)
            # a line of one point has no length: a dot is what is seen of it
            axes.plot(
                line.x,
                line.y,
                label=line.name,
                color=colour,
                linestyle=DASHES[place % len(DASHES)],
                marker="o" if len(line.x) == 1 else "",
            )
        figure.legend(loc="outside lower left", ncols=_NAMES_IN_A_ROW, frameon=False)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Title": title, "Date": None, "Creator": None})
    return out.getvalue()
