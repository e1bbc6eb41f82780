"""Values and a program's own words, as a verdict shows them."""

from __future__ import annotations

_DETAIL_CHARS = 60


def printable(text: str) -> str:
    """Return a program's words, without what a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def short(value: object) -> str:
    """Return a value in at most 60 characters."""
    try:
        text = repr(value)
    except ValueError:  # an integer with more digits than Python prints
        text = "a very large number"
    return text if len(text) <= _DETAIL_CHARS else text[: _DETAIL_CHARS - 1] + "…"
