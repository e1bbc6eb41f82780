"""The page as a file: hostile text stays text, nothing is fetched, colours can be read."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
from run_for_tests import BREAKOUT, write_run

from stepcoder_dist import report
from stepcoder_dist.report.page import embedded
from stepcoder_dist.report.page_data import page_data
from stepcoder_dist.report.run_reading import read_run


class Elements(HTMLParser):
    """The elements of a page as a browser would open them, and the text of scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        del tag
        self._inside = ""

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self._inside, []).append(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return report.write(folder).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def elements(page: str) -> Elements:
    parser = Elements()
    parser.feed(page)
    return parser


def test_a_program_that_closes_the_script_opens_nothing(
    folder: Path, page: str, elements: Elements
):
    assert BREAKOUT in json.loads((folder / "samples.jsonl").read_text().splitlines()[1])["source"]
    assert [attributes for tag, attributes in elements.opened if tag == "script"] == [
        {"type": "application/json", "id": "data"},
        {},
    ]
    assert not [tag for tag, _ in elements.opened if tag in ("img", "iframe", "object")]
    assert "window.pwned" not in page.replace("\\u003cscript\\u003ewindow.pwned", "").replace(
        "onerror=window.pwned", ""
    )


def test_the_data_are_read_back_as_they_were_written(folder: Path, elements: Elements):
    data = json.loads(elements.texts["script"][0])
    again = json.loads(json.dumps(page_data(read_run(folder))))
    assert 0 <= again["run"].pop("written") - data["run"].pop("written") < 3600
    assert data == again
    assert any(
        BREAKOUT in "".join(t for _, _, p in s["lines"] for _, t in p) for s in data["samples"]
    )


@pytest.mark.parametrize(
    "text",
    [
        "</script>",
        "<!--<script>",
        "]]>&lt;",
        "\u2028\u2029",
        "\ud800",
        "\0\x1b[31m",
        "<!--{data}-->",
    ],
)
def test_embedded_data_are_ascii_without_markup(text: str):
    block = embedded({"source": text})
    assert block.isascii()
    assert not set("<>&") & set(block)
    assert json.loads(block) == {"source": text}


def test_a_run_may_be_called_anything(tmp_path: Path):
    name = "</title><script>alert(1)</script><!--{style}-->"
    (tmp_path / "config.toml").write_text(f"name = {json.dumps(name)}\n")
    parser = Elements()
    parser.feed(report.write(tmp_path).read_text())
    assert len([tag for tag, _ in parser.opened if tag == "script"]) == 2
    assert json.loads(parser.texts["script"][0])["run"]["name"] == name


def test_only_this_script_and_this_style_may_run_and_no_request_may_be_made(elements: Elements):
    (policy,) = [
        attributes["content"]
        for tag, attributes in elements.opened
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    code, style = elements.texts["script"][1], elements.texts["style"][0]
    digest = {
        k: b64encode(sha256(v.encode()).digest()).decode()
        for k, v in {"c": code, "s": style}.items()
    }
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "style-src": f"'sha256-{digest['s']}'",
        "script-src": f"'sha256-{digest['c']}'",
    }


def test_the_page_names_nothing_outside_itself(elements: Elements):
    for tag, attributes in elements.opened:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(name) or ""
            assert value == "" or value.startswith(("#", "data:")), (tag, name, value)
    for text in elements.texts["script"][1], elements.texts["style"][0]:
        outside = set(re.findall(r"https?://[^\s\"')]+", text)) - {"http://www.w3.org/2000/svg"}
        assert outside == set()
        assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest|import\(", text)


def test_the_scripts_write_text_never_markup(elements: Elements):
    code = elements.texts["script"][1]
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", code
    )


# ── colours ──

STYLE = files("stepcoder_dist.report").joinpath("page.css").read_text(encoding="utf-8")
COLOURS = {
    name: pair for name, *pair in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", STYLE)
}
TEXT = {
    "paper": "ink muted accent",
    "card": "ink muted accent second third fourth masked given executed untrusted broken",
    "sunken": "ink muted",
    "accent-soft": "ink muted accent",
    "given-bg": "given muted",
    "executed-bg": "ink muted executed",
    "masked-bg": "masked muted",
    "untrusted-bg": "ink muted untrusted",
    "broken-bg": "ink muted broken",
    "surprise": "ink",
}
MARKS = (
    "accent second third fourth edge focus passed wrong_answer runtime_error timeout output_limit "
    "out_of_memory compile_error wait_for_rollouts learner checkpoint publish other stage-near "
    "stage-far"
)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_the_extremes_is_21():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read_in_both_themes(theme: int):
    low = {
        (text, ground): ratio
        for ground, texts in TEXT.items()
        for text in texts.split()
        if (ratio := contrast(COLOURS[text][theme], COLOURS[ground][theme])) < 4.5
    }
    assert low == {}


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_marks_stand_out_in_both_themes(theme: int):
    low = {
        (mark, ground): ratio
        for ground in ("paper", "card")
        for mark in MARKS.split()
        if (ratio := contrast(COLOURS[mark][theme], COLOURS[ground][theme])) < 3
    }
    assert low == {}
