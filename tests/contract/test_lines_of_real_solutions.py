"""Executed lines of published solutions, line by line as a `sys.settrace` run sees them.

The reference runs in the same image and shares nothing with the product's tracer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from printed import printed

from sandbox.containers.container import Container, check_image, connect
from sandbox.containers.container_pool import ContainerPool
from stepcoder_dist import problems
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import MissingEngine
from stepcoder_dist.records import Outcome, TestSuite, Verdict

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
pytestmark = [
    pytest.mark.docker,
    pytest.mark.published,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"real problem sets are not at {DATA}"),
]
CONFIG = SandboxConfig(containers=2, cpu_limit_s=1.0, wall_limit_s=10.0)
PATIENT = replace(CONFIG.limits, cpu_s=40.0, wall_s=80.0)
"""For the reference: `sys.settrace` is up to 17 times slower."""

REFERENCE = """
import io, json, random, sys
spec = json.loads({spec!r})
hit = set()
def on_line(frame, event, arg):
    if event == "line":
        hit.add(frame.f_lineno)
    return on_line
code = compile(spec["source"], "<reference>", "exec", dont_inherit=True)
kept, sys.stdout = sys.stdout, io.TextIOWrapper(io.BytesIO(), "utf-8")
names = {{"__name__": "solution" if spec["called"] else "__main__"}}
exec(compile(spec["setup_code"], "<setup>", "exec", dont_inherit=True), names)
script = dict(names)
sys.setrecursionlimit(10**5)
sys.settrace(lambda frame, *_: on_line if frame.f_code.co_filename == "<reference>" else None)
try:
    exec(code, names)
    if spec["called"]:
        owner = names.get("Solution")
        function = getattr(owner(), spec["called"]) if owner else names[spec["called"]]
    if spec["arguments"]:
        function(*eval(spec["arguments"]))
    if spec["script"]:
        random.seed(0)
        exec(spec["script"], script | names)
        if "check" in spec["script"]:
            exec(spec["script"] + "\\ncheck(" + spec["called"] + ")", script | names)
except (Exception, SystemExit):
    pass
sys.settrace(None)
kept.write(json.dumps(sorted(hit)))
"""


def reference(container: Container, source: str, tests: TestSuite, test: int) -> list[int]:
    script = test == len(tests.inputs)
    spec = {
        "source": source,
        "setup_code": tests.setup_code,
        "called": tests.entry_point if script else tests.fn_name,
        "arguments": "" if script or tests.fn_name is None else repr(tests.inputs[test]),
        "script": tests.test_code if script else "",
    }
    stdin = "" if script or tests.fn_name else tests.inputs[test]
    told = printed(container, REFERENCE.format(spec=json.dumps(spec)), PATIENT, stdin)
    return list(json.loads(told))


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    try:
        client = connect()
        check_image(client, CONFIG.image)
    except MissingEngine as error:
        pytest.skip(str(error))
    made = Container(client, CONFIG.image, CONFIG.limits)
    yield made
    made.close()
    client.close()


def verdicts(programs: list[tuple[str, TestSuite]]) -> list[Verdict]:
    async def judge() -> list[Verdict]:
        async with ContainerPool(CONFIG) as pool:
            return await asyncio.gather(*(pool.judge(s, t, problem_id=s) for s, t in programs))

    return asyncio.run(judge())


def different(container: Container, programs: dict[str, tuple[str, TestSuite]]) -> dict[str, str]:
    """Where the two do not see the same lines, of all tests that come to an end."""
    found = {}
    judged = verdicts(list(programs.values()))
    for (name, (source, tests)), verdict in zip(programs.items(), judged, strict=True):
        for test, result in enumerate(verdict.tests):
            if result.outcome is Outcome.TIMEOUT:  # then the reference would not end either
                continue
            seen, wanted = sorted(result.executed_lines), reference(container, source, tests, test)
            if seen != wanted:
                found[f"{name}, test {test + 1}"] = f"{set(seen) ^ set(wanted)}: {result.detail}"
    return found


def test_lines_of_every_human_eval_solution_are_those_that_settrace_sees(container):
    loaded = problems.load(DATA / "HumanEval.jsonl.gz")
    programs = {p.problem_id: (p.reference, p.tests) for p in loaded}
    assert len(programs) == 164
    assert different(container, programs) == {}


@pytest.mark.long
def test_lines_of_every_apps_solution_are_those_that_settrace_sees(container):
    programs = {}
    for problem in problems.load(DATA / "apps"):
        folder = DATA / "apps" / problem.problem_id.removeprefix("apps/")
        solutions = [
            solution if isinstance(solution, str) else solution["code"]
            for name in ("solutions.json", "gen_solutions.json")
            for solution in json.loads((folder / name).read_text(encoding="utf-8"))
        ]
        programs |= {
            f"{problem.problem_id}#{n}": (source, problem.tests)
            for n, source in enumerate(solutions)
        }
    assert len(programs) == 184
    assert different(container, programs) == {}
