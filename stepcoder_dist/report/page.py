"""Joining the page's parts into one file that needs nothing else.

Programs in it are hostile text. Three things keep them text:

* the data are in a block that no browser runs, without a single `<`;
* the scripts write text nodes only;
* the page's policy allows exactly these scripts and this style, by their hashes, and no request.
"""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any

SCRIPTS = (
    "dom.js",
    "charts.js",
    "heldout.js",
    "map.js",
    "tokens.js",
    "samples.js",
    "timeline.js",
    "live.js",
    "page.js",
)
"""The scripts in their order: each uses only those before it."""


def render(data: dict[str, Any]) -> str:
    """Return the HTML of a page over `page_data`'s object."""
    style = _asset("page.css")
    script = '"use strict";\n(() => {\n' + "\n".join(map(_asset, SCRIPTS)) + "})();\n"
    parts = {
        "title": escape(f"{data['run']['name']} · run report"),
        "policy": (
            f"default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
            f"style-src {_hash(style)}; script-src {_hash(script)}"
        ),
        "style": style,
        "data": embedded(data),
        "script": script,
    }
    page = _asset("page.html")
    head, *rest = page.split("<!--{")
    # one pass over the template: text that was put in is not searched again
    return head + "".join(
        parts[name] + tail for name, _, tail in (piece.partition("}-->") for piece in rest)
    )


def embedded(data: dict[str, Any]) -> str:
    """JSON in ASCII that can be in a script block: it has no `<`, `>` or `&`.

    Raises `ValueError` for NaN and infinities, which are no JSON.
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
