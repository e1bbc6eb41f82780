"""How and where the results of a page were made, as lines of Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from stepcoder_dist.ablation.plan import Plan
from stepcoder_dist.ablation.result import Result


def section(plan: Plan, results: Mapping[str, Sequence[Result]]) -> list[str]:
    """Return the section with commands, commits, machines and versions."""
    found = [result for each in results.values() for result in each]
    setting, arm = plan.file.settings[0].name, plan.file.arms[0].name
    one = f"--setting {setting} --arm {arm} --seed {plan.file.seeds[0]}"
    command = f"stepcoder ablate {plan.source}"
    hours = sum(result.made_on["wall_s"] for result in found) / 3600
    facts = {
        "commit": [_commit(result) for result in found],
        "processor": [_processor(result) for result in found],
        "versions": [_versions(result) for result in found],
    }
    return [
        "## How this was made",
        "",
        "```",
        "# what has no result yet, then this page; one cell again, bit for bit; this page alone",
        command,
        f"{command} {one} --check",
        f"{command} --report",
        "```",
        "",
        (
            f"{len(found)} of {len(plan.cells)} cells, {hours:.1f} hours in all; their files, with "
            f"config, curves and every problem's verdict: `{plan.out}`."
        ),
        "",
        *(f"* {name}: {_counted(values)}" for name, values in facts.items()),
        "",
    ]


def _counted(values: Sequence[str]) -> str:
    counts = Counter(values).most_common()
    if len(counts) == 1:
        return counts[0][0]
    return "; ".join(f"{value} ({times} of {len(values)})" for value, times in counts)


def _commit(result: Result) -> str:
    commit = result.made_on["commit"]
    changed = " with local changes" if result.made_on["dirty"] else ""
    return f"`{commit[:12]}`{changed}" if commit else "not in a checkout"


def _processor(result: Result) -> str:
    return f"{result.made_on['processor']}, {result.made_on['cores']} cores"


def _versions(result: Result) -> str:
    versions = {"Python": result.made_on["python"], **result.made_on["versions"]}
    return ", ".join(f"{name} {version}" for name, version in versions.items())
