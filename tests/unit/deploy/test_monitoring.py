"""deploy/monitoring: what the dashboard and the alerts ask for exists."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

from stepcoder_dist.loop.metrics import METRICS

REPOSITORY = Path(__file__).parents[3]
MONITORING = REPOSITORY / "deploy" / "monitoring"
DASHBOARD = MONITORING / "grafana" / "dashboards" / "stepcoder.json"


def expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def exported() -> set[str]:
    """The names that our processes give to Ray, with the endings that Prometheus shows."""
    source = "".join(path.read_text() for path in (REPOSITORY / "actors").rglob("*.py")) + "".join(
        path.read_text() for path in (REPOSITORY / "sandbox").rglob("*.py")
    )
    names = {f"stepcoder_{name.replace('/', '_')}" for name in METRICS}
    for kind, name in re.findall(r'(Gauge|Counter|Histogram)\(\s*"(stepcoder_\w+)"', source):
        endings = {"Gauge": [""], "Counter": ["_total"], "Histogram": ["_sum", "_count", "_bucket"]}
        names |= {name + ending for ending in endings[kind]}
    # gauges that are made in a loop over a table of names
    for prefix, table in re.findall(
        r'Gauge\(f"(stepcoder_\w+?)\{\w+\}".*?for \w+, \w+ in \((.*?)\n\s*\)', source, re.DOTALL
    ):
        names |= {prefix + name for name in re.findall(r'^\s*\("(\w+)"', table, re.MULTILINE)}
    return names | {f"stepcoder_sandbox_latency_p{p}_ms" for p in (50, 95, 99)}


def test_the_committed_dashboard_is_the_one_that_its_table_gives():
    made = runpy.run_path(str(MONITORING / "make_dashboard.py"))["dashboard"]()
    assert json.loads(DASHBOARD.read_text()) == made, "run `make dashboard`"


@pytest.mark.parametrize("text", [*expressions(), (MONITORING / "alerts.yml").read_text()])
def test_every_metric_that_is_asked_for_is_exported(text: str):
    asked = re.findall(r"\bray_(stepcoder_\w+)", text)
    assert asked
    assert set(asked) <= exported()


def test_panels_do_not_overlap():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


@pytest.mark.prometheus
@pytest.mark.parametrize(
    "arguments", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")]
)
def test_promtool_accepts_the_alerts_and_they_fire_when_they_should(arguments: tuple[str, ...]):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: Debian's package prometheus has it")
    done = subprocess.run(
        ["promtool", *arguments], cwd=MONITORING, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
