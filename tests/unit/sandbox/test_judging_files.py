"""`stepcoder judge` over a large file: bounded memory, each row once, going on where it stopped."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from sandbox.judge_files import batch
from sandbox.judge_files.verdict_file import VerdictFile
from stepcoder_dist.errors import ProblemError, SandboxFault, UserError
from stepcoder_dist.records import LineStructure, Outcome, TestResult, Verdict

PROBLEM = {"problem_id": "t/1", "inputs": ["1\n"], "outputs": ["2\n"], "fn_name": None}
PASSED = Verdict(
    outcome=Outcome.PASSED,
    tests=(TestResult(outcome=Outcome.PASSED, executed_lines=frozenset({1})),),
    structure=LineStructure(code_lines=frozenset({1}), follows=((1,),), comment_lines=frozenset()),
    coverage_trusted=True,
    wall_ms=1.0,
)


class Answers:
    """A sandbox that runs nothing: every program passes, unless its source says otherwise."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.judged: list[str] = []
        self.most_at_once = 0
        self.others = 2
        self._now = 0

    async def __aenter__(self):
        self.command = asyncio.current_task()
        return self

    async def __aexit__(self, *_):
        pass

    async def judge(self, source, _tests, *, problem_id):  # noqa: ARG002
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        await asyncio.sleep(0)
        self._now -= 1
        self.judged.append(source)
        if source == "stop":
            while self.out.read_text().count("\n") < self.others:  # noqa: ASYNC110 - a file tells nobody
                await asyncio.sleep(0)  # the others are still to be written
            self.command.cancel()
            await asyncio.Event().wait()
        if source == "fault":
            raise SandboxFault("the engine is away")
        return PASSED


class Folder:
    """The files of one command."""

    def __init__(self, folder: Path) -> None:
        self.problems, self.programs, self.out = (
            folder / name for name in ("p.jsonl", "c.jsonl", "v.jsonl")
        )
        self.write(self.problems, [PROBLEM])

    @staticmethod
    def write(path: Path, rows: list[object], mode: str = "w") -> None:
        with path.open(mode) as file:
            file.writelines((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows)

    def judge(self, monkeypatch, *, resume: bool = False) -> Answers:
        sandbox = Answers(self.out)
        monkeypatch.setattr(batch, "make_pool", lambda *_: sandbox)
        asyncio.run(
            batch.judge_files(
                self.problems,
                self.programs,
                self.out,
                backend="process",
                jobs=2,
                image="none",
                resume=resume,
            )
        )
        return sandbox

    def told(self) -> Counter[tuple[object, str]]:
        verdicts = [json.loads(line) for line in self.out.read_text().splitlines()]
        return Counter((v["program_id"], v["outcome"]) for v in verdicts)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def program(name: str, source: str = "print(2)", problem: str = "t/1") -> dict[str, str]:
    return {"program_id": name, "problem_id": problem, "source": source}


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_does_not_grow_with_the_file(folder, monkeypatch):
    sources = 10_000
    padding = "#" * 10_000
    with folder.programs.open("w") as file:
        for i in range(sources):
            file.write(json.dumps(program(f"p{i}", f"{padding}{i}")) + "\n")
    assert folder.programs.stat().st_size > 95 * 2**20
    curve = []
    write = VerdictFile.write

    def watched(self, verdict):
        write(self, verdict)
        curve.append(resident_bytes() if not len(curve) % 500 else 0)

    monkeypatch.setattr(VerdictFile, "write", watched)
    monkeypatch.setattr(Answers, "judge", _pass_and_forget)
    before = resident_bytes()
    folder.judge(monkeypatch)
    folder.programs.unlink()
    assert len(curve) == sources
    seen = [size for size in curve if size]
    assert max(seen) - before < 24 * 2**20, [size - before >> 20 for size in seen]


async def _pass_and_forget(_self, _source, _tests, *, problem_id):  # noqa: ARG001
    await asyncio.sleep(0)
    return PASSED


def test_no_more_programs_are_taken_than_are_in_flight(folder, monkeypatch):
    folder.write(folder.programs, [program(f"p{i}") for i in range(50)])
    assert folder.judge(monkeypatch).most_at_once == 4


BAD_ROWS = [
    program("again"),
    "{not json",
    [],
    {"problem_id": "t/1", "source": ""},
    {"problem_id": "t/1", "source": ""},
    program("elsewhere", problem="t/9"),
    program("again", "print(3)"),
    program("again", "print(4)"),
]


@pytest.mark.parametrize("kept", range(len(BAD_ROWS) + 3))
@pytest.mark.parametrize("torn", ["", '{"program_id": "p1", "out'])
def test_a_file_cut_off_anywhere_is_gone_on_with_and_each_row_has_one_verdict(
    folder, monkeypatch, kept, torn
):
    folder.write(folder.programs, [program("p1"), *BAD_ROWS, program("p2")])
    folder.judge(monkeypatch)
    whole, lines = folder.told(), folder.out.read_text().splitlines(keepends=True)
    assert whole.total() == len(BAD_ROWS) + 2
    folder.out.write_text("".join(reversed(lines[-kept:] if kept else [])) + torn)
    left = whole - folder.told() if not torn else None
    sandbox = folder.judge(monkeypatch, resume=True)
    assert folder.told() == whole
    if left is not None:
        assert len(sandbox.judged) == sum(n for (_, o), n in left.items() if o == "passed")


def test_programs_that_were_added_to_the_file_are_judged_on_resuming(folder, monkeypatch):
    folder.write(folder.programs, [program("p1")])
    folder.judge(monkeypatch)
    folder.write(folder.programs, [program("p2", "print(5)")], "a")
    assert folder.judge(monkeypatch, resume=True).judged == ["print(5)"]
    assert folder.told() == {("p1", "passed"): 1, ("p2", "passed"): 1}


def test_without_resume_the_file_begins_anew(folder, monkeypatch):
    folder.write(folder.programs, [program("p1")])
    folder.out.write_text("something else\n")
    folder.judge(monkeypatch)
    assert folder.told() == {("p1", "passed"): 1}


def test_resuming_nothing_is_a_start(folder, monkeypatch):
    folder.write(folder.programs, [program("p1")])
    folder.judge(monkeypatch, resume=True)
    assert folder.told() == {("p1", "passed"): 1}


def test_what_was_judged_before_an_interruption_is_kept(folder, monkeypatch, capsys):
    folder.write(folder.programs, [program("p1"), program("p2"), program("p3", "stop")])
    with pytest.raises(asyncio.CancelledError):
        folder.judge(monkeypatch)
    told = " ".join(capsys.readouterr().err.split())  # a long path breaks the line
    assert "v.jsonl keeps 2 of 3 verdicts; continue with --resume" in told
    assert folder.told() == {("p1", "passed"): 1, ("p2", "passed"): 1}


def test_a_fault_is_no_verdict_and_is_tried_again_on_resuming(folder, monkeypatch):
    folder.write(folder.programs, [program("p1"), program("p2", "fault")])
    folder.judge(monkeypatch)
    assert folder.told() == {("p1", "passed"): 1, ("p2", "sandbox_fault"): 1}
    assert folder.judge(monkeypatch, resume=True).judged == ["fault"]
    assert folder.told() == {("p1", "passed"): 1, ("p2", "sandbox_fault"): 1}


def test_a_sandbox_that_stays_away_ends_the_command(folder, monkeypatch):
    folder.write(folder.programs, [program(f"p{i}", "fault") for i in range(100)])
    with pytest.raises(SandboxFault, match=r"32 programs in a row .* the engine is away"):
        folder.judge(monkeypatch)
    assert folder.told().total() == 32


def change_a_source(folder: Folder) -> None:
    folder.write(folder.programs, [program("p1", "other"), program("p2")])


def change_a_problem(folder: Folder) -> None:
    folder.write(folder.problems, [PROBLEM | {"outputs": ["3\n"]}])


def drop_a_program(folder: Folder) -> None:
    folder.write(folder.programs, [program("p2")])
    Path(f"{folder.out}.inputs.json").unlink()


def change_a_programs_problem(folder: Folder) -> None:
    folder.write(folder.programs, [program("p1", problem="t/2"), program("p2")])
    Path(f"{folder.out}.inputs.json").unlink()


def write_no_verdict(folder: Folder) -> None:
    folder.write(folder.out, [{"program_id": "p1"}])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (change_a_source, r"v\.jsonl is about other programs than .*c\.jsonl; continue without"),
        (change_a_problem, r"v\.jsonl is about other problems than .*p\.jsonl; continue without"),
        (drop_a_program, r"v\.jsonl: holds 1 verdicts on programs that are not in .*'p1'"),
        (change_a_programs_problem, r"'p1' was judged for problem 't/1', not 't/2'"),
        (write_no_verdict, r"v\.jsonl:1: not a verdict"),
    ],
)
def test_a_file_about_anything_else_is_refused_in_one_line_and_stays_as_it_is(
    folder, monkeypatch, change, complaint
):
    folder.write(folder.programs, [program("p1"), program("p2")])
    folder.judge(monkeypatch)
    change(folder)
    before = folder.out.read_text()
    with pytest.raises(UserError, match=complaint) as refused:
        folder.judge(monkeypatch, resume=True)
    assert "\n" not in str(refused.value)
    assert folder.out.read_text() == before


def test_the_input_is_never_written_over(folder, monkeypatch):
    folder.write(folder.programs, [program("p1")])
    folder.out = folder.programs
    with pytest.raises(UserError, match="would replace"):
        folder.judge(monkeypatch)
    assert json.loads(folder.programs.read_text()) == program("p1")


def test_two_commands_do_not_write_one_file(folder, monkeypatch):
    folder.write(folder.programs, [program("p1")])
    with (
        VerdictFile(folder.out, folder.problems, folder.programs, resume=False),
        pytest.raises(UserError, match="another judge is writing it"),
    ):
        folder.judge(monkeypatch, resume=True)


def test_an_out_that_is_no_file_takes_verdicts_as_well(folder, monkeypatch):
    folder.write(folder.programs, [program("p1")])
    folder.out = Path("/dev/null")
    assert folder.judge(monkeypatch, resume=True).judged == ["print(2)"]
    assert not Path("/dev/null.inputs.json").exists()


def test_a_folder_that_is_not_there_is_one_line(folder, monkeypatch):
    folder.write(folder.programs, [program("p1")])
    folder.out = folder.out.parent / "nowhere" / "v.jsonl"
    with pytest.raises(UserError, match=r"nowhere/v\.jsonl: cannot be written \(No such file"):
        folder.judge(monkeypatch)


def test_a_bad_problem_does_not_keep_the_programs_that_were_refused_for_it(tmp_path):
    bad = ProblemError("p.jsonl:1: no tests")
    programs = [{"program_id": str(n), "problem_id": "t/1", "source": "x" * 99} for n in range(3)]

    async def told() -> list[dict]:
        judged = batch.judge_rows(programs, {"t/1": bad}, Answers(tmp_path), in_flight=2)
        return [verdict async for verdict in judged]

    assert [v["detail"] for v in asyncio.run(told())] == [str(bad)] * 3
    assert bad.__traceback__ is None
