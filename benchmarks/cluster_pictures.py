"""Take the pictures of docs/cluster.md again: a tiny run on a Ray head, watched and scaled.

    .venv/bin/python benchmarks/cluster_pictures.py --out docs/images

Real: `ray start --head` with token authentication, a submitted job, `stepcoder status` and
`scale`, Ray's dashboard in headless Chromium, Prometheus, and its answers to the queries of every
panel of the Grafana dashboard. Not real: Grafana. A page of our own draws the answers. Needs
`chromium` and `prometheus` on the PATH; takes some minutes. What the commands print goes to
standard output.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import IO, Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "tests" / part) for part in ("integration", "browser")]

from chromium_processes import binary  # noqa: E402
from commands import SMALL, sets  # noqa: E402
from prometheus_server import Prometheus  # noqa: E402
from ray_head import Head  # noqa: E402

MONITORING = REPOSITORY / "deploy" / "monitoring"
PANELS = json.loads((MONITORING / "grafana" / "dashboards" / "stepcoder.json").read_text())[
    "panels"
]
SETTINGS = SMALL | {
    "sandbox.backend": "process",
    "sandbox.resources": "{num_cpus=0.05}",  # room for a third rollout actor on two CPUs
    "train.steps": 10_000,
    "train.max_staleness": 1,
    "train.report_every_s": 15,
}
WIDTH, HEIGHT = 292, 120
"""Pixels of a panel."""
COLOURS = ("#1f6fb2", "#b06a10", "#0f6a62", "#8a3560", "#5b4fae", "#5d6675")


@contextmanager
def browser_page(token: str) -> Iterator[Page]:
    """A page that sends the cluster's token, as the dashboard's own dialogue makes it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary(), args=["--no-sandbox"])
        try:
            context = browser.new_context(
                viewport={"width": 1240, "height": 620},
                extra_http_headers={"Authorization": f"Bearer {token}"},
            )
            context.set_default_timeout(120_000)
            yield context.new_page()
        finally:
            browser.close()


def until_step(log: IO[str], step: int) -> None:
    """Read a job's lines up to a step. Raises `RuntimeError` where the job ends before."""
    seen = []
    for line in log:
        seen.append(line)
        if (found := re.match(r"RL: (\d+)/", line)) and int(found[1]) >= step:
            return
    raise RuntimeError("".join(seen[-20:]))


def said(head: Head, *arguments: str) -> None:
    print(f"$ stepcoder {' '.join(arguments)}\n{head.stepcoder(*arguments)}", flush=True)


def actors_picture(page: Page, head: Head, names: tuple[str, ...], out: Path) -> None:
    """Take the dashboard's table of actors when it has all the names."""
    page.goto(f"{head.address}/#/actors")
    page.reload()
    for name in names:
        page.get_by_role("cell", name=name, exact=True).first.wait_for()
    table = page.locator("table").first
    table.scroll_into_view_if_needed()
    page.screenshot(path=out)


def panels_page(prometheus: Prometheus, since: float) -> str:
    """A page with every panel whose queries have answers, from those answers alone."""
    drawn, silent = [], []
    for panel in (each for each in PANELS if each.get("targets")):
        lines = [
            (target.get("legendFormat", ""), series)
            for target in panel["targets"]
            for series in answers(prometheus, target["expr"].replace("$run", ".*"), since)
        ]
        (drawn if lines else silent).append(
            chart(panel["title"], lines) if lines else panel["title"]
        )
    nothing = (
        f" Without an answer in this run: {escape(', '.join(t for t in silent))}." if silent else ""
    )
    return (
        "<meta charset=utf-8><style>body{font:13px sans-serif;margin:12px;color:#1c2128}"
        "div{display:grid;grid-template-columns:repeat(4,1fr);gap:10px}h2{font-size:13px;margin:0}"
        "small{color:#5a6170}section{border:1px solid #ddd;padding:6px}</style>"
        "<p>Prometheus' answers to the queries of "
        "deploy/monitoring/grafana/dashboards/stepcoder.json, "
        f"drawn by benchmarks/cluster_pictures.py. This is not Grafana.{nothing}</p>"
        f"<div>{''.join(drawn)}</div>"
    )


def answers(prometheus: Prometheus, query: str, since: float) -> list[dict[str, Any]]:
    asked = {"query": query, "start": since, "end": time.time(), "step": "3"}
    found: list[dict[str, Any]] = prometheus._ask(  # noqa: SLF001
        f"/api/v1/query_range?{urllib.parse.urlencode(asked)}"
    )["result"]
    return [series for series in found if any(value != "NaN" for _, value in series["values"])]


def chart(title: str, lines: list[tuple[str, dict[str, Any]]]) -> str:
    points = [
        [
            (float(at), float(value))
            for at, value in series["values"]
            if value not in ("NaN", "+Inf")
        ]
        for _, series in lines
    ]
    times = [at for line in points for at, _ in line] or [0.0]
    values = [value for line in points for _, value in line] or [0.0]
    low, high = min(0.0, *values), max(values)
    high = high if high > low else low + 1
    room = max(times) - min(times) or 1

    def path(line: list[tuple[float, float]]) -> str:
        return " ".join(
            f"{34 + (at - min(times)) / room * (WIDTH - 38):.1f},"
            f"{HEIGHT - 6 - (value - low) / (high - low) * (HEIGHT - 18):.1f}"
            for at, value in line
        )

    drawn = "".join(
        f'<polyline fill="none" stroke="{COLOURS[i % len(COLOURS)]}" stroke-width="1.6" '
        f'points="{path(line)}"/>'
        for i, line in enumerate(points)
    )
    names = ", ".join(
        f'<span style="color:{COLOURS[i % len(COLOURS)]}">{escape(label(name, series))}</span>'
        for i, (name, series) in enumerate(lines[:6])
    )
    return (
        f"<section><h2>{escape(title)}</h2>"
        f'<svg width="{WIDTH - 16}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f'<text x="0" y="14" font-size="11">{high:.3g}</text>'
        f'<text x="0" y="{HEIGHT - 4}" font-size="11">{low:.3g}</text>{drawn}</svg>'
        f"<br><small>{names}</small></section>"
    )


def label(pattern: str, series: dict[str, Any]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda m: series["metric"].get(m[1], ""), pattern)


def session(head: Head, prometheus: Prometheus, page: Page, out: Path, steps: int) -> None:
    since = time.time()
    head.submit("run", "stepcoder", "train", "deploy/runs/demo.toml", *sets(SETTINGS))
    log = head.follow("run").stdout
    assert log is not None
    until_step(log, 3)
    said(head, "status")
    actors_picture(page, head, ("rollout-1", "sandbox-1", "learner-rank-0"), out / "ray-actors.png")
    said(head, "scale", "--rollouts", "3", "--sandboxes", "3")
    until_step(log, 6)
    said(head, "status")
    actors_picture(page, head, ("rollout-2", "sandbox-2"), out / "ray-actors-scaled.png")
    until_step(log, steps)
    with tempfile.NamedTemporaryFile("w", suffix=".html", dir=head.temporary) as file:
        file.write(panels_page(prometheus, since))
        file.flush()
        page.goto(Path(file.name).as_uri())
        page.screenshot(path=out / "panels.png", full_page=True)
    report = next((head.home / "stepcoder-runs").glob("*/report.html"))
    page.goto(report.as_uri())
    page.locator("#timeline svg[role=img]").wait_for()
    page.evaluate("document.getElementById('timeline').scrollIntoView()")
    page.locator("#timeline").screenshot(path=out / "report-timeline.png")
    print(head.ray("job", "stop", "run"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "images")
    parser.add_argument("--steps", type=int, default=24, help="steps before the charts are drawn")
    options = parser.parse_args()
    head = Head()
    try:
        token = (head.home / ".ray" / "auth_token").read_text().strip()
        with (
            Prometheus(head.metrics_address, MONITORING / "alerts.yml") as prometheus,
            browser_page(token) as page,
        ):
            session(head, prometheus, page, options.out, options.steps)
    finally:
        head.close()
    for name in ("ray-actors", "ray-actors-scaled", "panels", "report-timeline"):
        picture = Image.open(options.out / f"{name}.png").convert("RGB")
        picture.quantize(128).save(options.out / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
