"""`stepcoder judge` in a process of its own, on containers: stopped, gone on with, bad rows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from commands import REPOSITORY, finish, read_until
from guest_containers import OWN, available

from sandbox.containers.container import connect
from sandbox.containers.orphans import OWNER_LABEL, RUN_LABEL

PROBLEM = {"problem_id": "t/1", "inputs": ["1\n"], "outputs": ["2\n"], "fn_name": None}
RIGHT = "print(2 * int(input()))\n"


@pytest.fixture(params=OWN)
def backend(request, tmp_path):
    with available(request.param, tmp_path, 1) as where:
        yield where["backend"]


def judge(folder: Path, backend: str, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable, "-W", "ignore", "-m", "stepcoder_dist", "judge",
            "--problems", "p.jsonl", "--programs", "c.jsonl", "--out", "v.jsonl",
            "--backend", backend, *options,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        start_new_session=True,
    )  # fmt: skip


def write(path: Path, rows: list[object]) -> None:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))


def verdicts(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "v.jsonl").read_text().splitlines()]


def containers_of(pid: int) -> list[str]:
    client = connect()
    try:
        found = client.containers.list(all=True, filters={"label": RUN_LABEL}, ignore_removed=True)
        return [c.name for c in found if f":{pid}:" in c.labels.get(OWNER_LABEL, "")]
    finally:
        client.close()


def test_a_signal_ends_it_cleanly_and_resume_judges_the_rest(tmp_path, backend):
    by = signal.SIGTERM if backend == "docker" else signal.SIGINT
    write(tmp_path / "p.jsonl", [PROBLEM])
    programs = [
        {"program_id": f"p{i}", "problem_id": "t/1", "source": f"# {i}\n{RIGHT}"}
        for i in range(400)
    ]
    write(tmp_path / "c.jsonl", programs)
    running = judge(tmp_path, backend)
    read_until(running, lambda line: line.startswith("judging: 40/400"))
    running.send_signal(by)
    output = finish(running, 128 + by)
    kept = len(verdicts(tmp_path))
    assert 40 <= kept < 400
    assert f"v.jsonl keeps {kept} of 400 verdicts; continue with --resume" in output
    assert f"stepcoder: stopped by {by.name}" in output
    if backend == "docker":
        assert containers_of(running.pid) == []

    output = finish(judge(tmp_path, backend, "--resume"))
    assert output.endswith("v.jsonl: 400 verdicts (400 passed)\n")
    told = Counter((v["program_id"], v["outcome"]) for v in verdicts(tmp_path))
    assert told == {(p["program_id"], "passed"): 1 for p in programs}


@pytest.mark.docker
def test_a_signal_while_containers_start_leaves_none(tmp_path, backend):
    write(tmp_path / "p.jsonl", [PROBLEM])
    write(tmp_path / "c.jsonl", [{"program_id": "p", "problem_id": "t/1", "source": RIGHT}])
    running = judge(tmp_path, backend, "--jobs", "6")
    read_until(running, lambda line: line.startswith("judging: 0/1"))
    running.send_signal(signal.SIGTERM)
    finish(running, 143)
    if backend == "docker":
        assert containers_of(running.pid) == []


def limited(name: str, **fields: object) -> dict[str, object]:
    return PROBLEM | {"problem_id": name} | fields


BAD_PROBLEMS: dict[str, tuple[object, str]] = {
    "infinite time": (limited("x", time_limit_s=float("inf")), "time_limit_s is inf, not a pos"),
    "nan time": (limited("x", time_limit_s=float("nan")), "time_limit_s is nan, not a positive"),
    "1e999 s": (
        json.dumps(limited("x", time_limit_s=0)).replace('limit_s": 0', 'limit_s": 1e999'),
        "time_limit_s is inf, not a positive number",
    ),
    "negative time": (limited("x", time_limit_s=-1), "time_limit_s is -1, not a positive number"),
    "time as text": (limited("x", time_limit_s="4"), "time_limit_s is '4', not a positive number"),
    "1e300 s": (limited("x", time_limit_s=1e300), "time_limit_s is 1e+300, above 1e+09"),
    "1e6 s": (limited("x", time_limit_s=1e6), "its time limit is 1e+06 s for a test; 3600"),
    "1e300 MiB": (limited("x", memory_limit_mb=1e300), "memory_limit_mb is 1e+300, above"),
    "1e7 MiB": (limited("x", memory_limit_mb=1e7), "its memory limit is"),
    "no tests": (limited("x", inputs=[], outputs=[]), "no tests"),
    "unequal": (limited("x", outputs=[]), "1 input but 0 outputs"),
    "number as input": (limited("x", inputs=[1]), "input 1 is an int, not text"),
    "comparison": (limited("x", comparison="roughly"), "unknown comparison 'roughly'; use one of"),
}


def test_a_problem_that_cannot_be_used_costs_its_own_programs_only(tmp_path):
    problems, programs = [PROBLEM], [{"program_id": "good", "problem_id": "t/1", "source": RIGHT}]
    for name, (row, _) in BAD_PROBLEMS.items():
        text = row if isinstance(row, str) else json.dumps(row)
        problems.append(text.replace('"problem_id": "x"', f'"problem_id": "{name}"'))
        programs.append({"program_id": name, "problem_id": name, "source": RIGHT})
    write(tmp_path / "p.jsonl", problems)
    write(tmp_path / "c.jsonl", programs)
    output = finish(judge(tmp_path, "process", "--jobs", "1"))
    assert output.endswith(f"({len(BAD_PROBLEMS)} invalid, 1 passed)\n")
    told = {v["program_id"]: (v["outcome"], v["detail"]) for v in verdicts(tmp_path)}
    assert told.pop("good") == ("passed", "")
    for name, (_, complaint) in BAD_PROBLEMS.items():
        outcome, detail = told[name]
        assert outcome == "invalid"
        assert complaint in detail
        assert len(detail) < 250


def test_fifty_megabytes_of_source_and_programs_that_are_no_text_are_rows_like_others(tmp_path):
    write(tmp_path / "p.jsonl", [PROBLEM])
    sources = {
        "huge": ("#" * 50_000_000, "invalid", "the source has 50000000 characters; 4194304 at"),
        "number": (7, "invalid", "source is not text"),
        "list": (["print(2)"], "invalid", "source is not text"),
        "null": (None, "invalid", "source is missing"),
        "lone surrogate": ("print('\ud800')", "compile_error", "UnicodeEncodeError"),
        "null character": ("print(2)\0", "compile_error", "null bytes"),
        "empty": ("", "wrong_answer", "expected '2\\n', got ''"),
        "good": (RIGHT, "passed", ""),
    }
    rows = [
        {"program_id": name, "problem_id": "t/1", "source": source}
        for name, (source, _, _) in sources.items()
    ]
    write(tmp_path / "c.jsonl", [*rows, {"program_id": 5, "problem_id": "t/1", "source": RIGHT}])
    with (tmp_path / "c.jsonl").open("ab") as file:
        file.write(b'{"program_id": "bytes", "problem_id": "t/1", "source": "\xff\xfe"}\n')
    finish(judge(tmp_path, "process", "--jobs", "1"))
    told = {v["program_id"]: (v["outcome"], v["detail"]) for v in verdicts(tmp_path)}
    for name, (_, outcome, detail) in sources.items():
        assert told[name][0] == outcome, (name, told[name])
        assert detail in told[name][1]
    assert told[5] == ("invalid", "program_id is missing or not text")
    assert told[None] == ("invalid", "line 10: not valid JSON: not UTF-8 at byte 56")


def test_a_large_verdict_file_can_be_shown_as_it_grows(tmp_path):
    """Where no bar can be drawn a long run reports about twenty times."""
    write(tmp_path / "p.jsonl", [PROBLEM])
    programs = [{"program_id": f"p{i}", "problem_id": "t/1", "source": RIGHT} for i in range(100)]
    write(tmp_path / "c.jsonl", programs)
    output = finish(judge(tmp_path, "process"))
    told = [line for line in output.splitlines() if line.startswith("judging: ")]
    assert [line.split()[1] for line in told] == [f"{n}/100" for n in range(0, 100, 5)]
