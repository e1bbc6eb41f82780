"""Both loops turn, with a fake sampler and learner and programs that really run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from runs_for_tests import config

from learner.step_tensors import StepTensors
from sandbox.process_pool import ProcessPool
from stepcoder_dist.config import RunConfig, SandboxConfig
from stepcoder_dist.errors import CheckerFault, RunError, SandboxFault, ShareLost
from stepcoder_dist.loop import metrics
from stepcoder_dist.loop.book.lines import Fate
from stepcoder_dist.loop.fakes import ByteTokenizer, FakeLearner, FakeSampler
from stepcoder_dist.loop.lost_samples import LostSamples
from stepcoder_dist.loop.run import Run
from stepcoder_dist.method import credit
from stepcoder_dist.ports import Sandbox
from stepcoder_dist.records import Outcome, Problem, RolloutRequest, TestSuite, Ticket, Trajectory
from stepcoder_dist.run import ledger_report, session
from stepcoder_dist.run.run_folder import RunFolder, checkpoints
from stepcoder_dist.run.sinks.metric_sinks import JsonLines
from stepcoder_dist.text.program import PromptWriter

REFERENCE = "n = int(input())\nif n > 5:\n    n = 5\nif n < 0:\n    n = 0\nprint(n)\n"
"""E = 2: two stages; at stage 1 the policy starts at line 4."""
TESTS = TestSuite(inputs=("7\n", "-1\n", "3\n"), outputs=("5\n", "0\n", "3\n"))


def problems(count: int) -> list[Problem]:
    return [
        Problem(
            problem_id=f"clamp/{i}",
            statement=f"clamp number {i}",
            reference=REFERENCE,
            level="interview",
            tests=TESTS,
        )
        for i in range(count)
    ]


FOUR = problems(4)


def right(request: RolloutRequest) -> str:
    return REFERENCE[len(request.given) :] + "```"


def make_run(
    settings: RunConfig,
    sandbox: Sandbox,
    policy: Callable[[RolloutRequest], str] = right,
    sampler: FakeSampler | None = None,
    problems: Sequence[Problem] = FOUR,
) -> Run:
    pools = session.Pools(sampler or FakeSampler(policy, width=2), sandbox)
    writer = PromptWriter(ByteTokenizer(), settings.prompt)
    return session.compose(settings, problems, writer, pools, FakeLearner())


def run_loops(run: Run, folder: Path, sandbox: ProcessPool) -> RunFolder:
    async def scenario() -> RunFolder:
        opened = RunFolder(folder, run.config)
        async with sandbox:
            await session.train(
                run, opened, [JsonLines(folder / "metrics.jsonl")], Console(quiet=True)
            )
        return opened

    return asyncio.run(scenario())


def new_executor() -> ProcessPool:
    return ProcessPool(SandboxConfig(backend="process", containers=2))


@pytest.fixture
def sandbox() -> ProcessPool:
    return new_executor()


def batches(run: Run) -> list[list[Trajectory]]:
    learner: Any = run.learner  # a timed one: `batches` is the fake's
    return [list(batch) for batch in learner.batches]


def outcomes(run: Run) -> set[Outcome]:
    return {t.outcome for batch in batches(run) for t in batch}


def test_right_programs_pass_move_the_start_points_back_and_every_sample_is_accounted_for(
    sandbox: ProcessPool, tmp_path: Path
):
    run = make_run(config(), sandbox)
    run_loops(run, tmp_path, sandbox)
    assert run.book.version == 4
    assert outcomes(run) == {Outcome.PASSED}
    assert run.book.fates == {Fate.TRAINED: 16}
    assert run.book.open_ids == frozenset()
    # 2 of 4 problems a step: each is mastered once, in the first two steps
    assert run.curriculum.mean_stage == 0
    assert [{t.ticket.stage for t in batch} for batch in batches(run)] == [{1}, {1}, {0}, {0}]


def test_a_problem_that_a_step_draws_twice_is_two_groups_for_the_curriculum_and_the_learner(
    sandbox: ProcessPool, tmp_path: Path
):
    run = make_run(config(steps=1), sandbox, problems=problems(1))
    recorded = []
    record = run.curriculum.record
    run.curriculum.record = lambda *group: recorded.append(group[:3]) or record(*group)
    run_loops(run, tmp_path, sandbox)
    assert recorded == [("clamp/0", 1, (True, True)), ("clamp/0", 1, (True, True))]
    assert StepTensors.of(batches(run)[0], torch.device("cpu")).groups.tolist() == [0, 0, 1, 1]


def test_a_batch_comes_in_ticket_order_and_is_never_older_than_the_bound(
    sandbox: ProcessPool, tmp_path: Path
):
    run = make_run(config(max_staleness=1, steps=6), sandbox)
    run_loops(run, tmp_path, sandbox)
    for step, batch in enumerate(batches(run)):
        ids = [t.ticket.sample_id for t in batch]
        assert ids == sorted(ids)
        assert all(step - t.oldest_weights <= 1 for t in batch)


def test_without_staleness_every_sample_is_made_by_the_weights_that_it_trains(
    sandbox: ProcessPool, tmp_path: Path
):
    run = make_run(config(), sandbox)
    run_loops(run, tmp_path, sandbox)
    for step, batch in enumerate(batches(run)):
        assert {(t.oldest_weights, t.ticket.planned_step) for t in batch} == {(step, step)}


def test_before_and_between_steps_the_sampler_has_the_weights_and_nothing_is_on_its_way(
    sandbox: ProcessPool, tmp_path: Path
):
    sampler = FakeSampler(right, width=2)
    run = make_run(config(), sandbox, sampler=sampler)
    seen = []

    async def note(version: int) -> None:
        ticket = Ticket(
            sample_id="x", group="g", problem_id="clamp/0", stage=0, seed=0, planned_step=0
        )
        requests = run.writer.requests(
            run.problems["clamp/0"],
            run.curriculum.start_point("clamp/0"),
            [ticket],
            temperature=1.0,
            top_p=1.0,
            max_new_tokens=200,
        )
        made_by = [completion.newest_weights async for completion in sampler.sample(requests)]
        seen.append((version, made_by, len(run.book.open_ids)))

    run.between_steps = note
    run_loops(run, tmp_path, sandbox)
    assert seen == [(0, [0], 0), (1, [1], 0), (2, [2], 0), (3, [3], 0), (4, [4], 0)]


def test_only_lines_that_ran_carry_loss(sandbox: ProcessPool, tmp_path: Path):
    def with_a_dead_branch(request: RolloutRequest) -> str:
        return right(request).replace("print(n)", "if n > 9:\n    n = 9\nprint(n)")

    run = make_run(config(steps=1), sandbox, with_a_dead_branch)
    run_loops(run, tmp_path, sandbox)
    trajectory = batches(run)[0][0]
    text = bytes(trajectory.completion_ids[:-1].tolist()).decode()
    masked = "".join(c for c, keep in zip(text, trajectory.keep, strict=False) if not keep)
    assert masked.strip() == "n = 9"
    assert trajectory.reward == 1.0


def test_the_run_folder_holds_metrics_samples_and_a_last_checkpoint(
    sandbox: ProcessPool, tmp_path: Path
):
    run = make_run(config(checkpoint_every=2), sandbox)
    folder = run_loops(run, tmp_path, sandbox)
    assert [path.name for path in checkpoints(folder.path)] == ["step_000002", "step_000004"]
    rows = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == 4
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == 16


def test_every_figure_of_a_step_has_a_name_and_a_meaning(sandbox: ProcessPool, tmp_path: Path):
    import json

    run = make_run(config(), sandbox)
    run_loops(run, tmp_path, sandbox)
    figures = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert figures.keys() <= metrics.METRICS.keys()
    assert all(meaning.isascii() for meaning in metrics.METRICS.values())


def test_four_steps_in_one_go_equal_two_and_two_resumed(tmp_path: Path):
    executors = [new_executor() for _ in range(3)]
    whole = make_run(config(), executors[0])
    run_loops(whole, tmp_path / "whole", executors[0])

    first = make_run(config(steps=2), executors[1])
    run_loops(first, tmp_path / "parts", executors[1]).close()
    second = make_run(config(), executors[2])

    async def resumed() -> None:
        opened = RunFolder(tmp_path / "parts", second.config)
        await session.restore(second, opened)
        async with executors[2]:
            await session.train(second, opened, [], Console(quiet=True))

    asyncio.run(resumed())
    assert second.book.version == 4
    tickets = [[t.ticket for t in batch] for batch in batches(whole)]
    assert [[t.ticket for t in batch] for batch in batches(first) + batches(second)] == tickets
    assert whole.curriculum.state_dict() == second.curriculum.state_dict()


class FaultySandbox:
    """Fails for chosen calls, as a sandbox does whose engine is away for a while."""

    def __init__(self, real: Sandbox, fails: Iterable[int]) -> None:
        self._real = real
        self._fails = set(fails)
        self._calls = 0

    async def judge(self, source: str, tests: TestSuite, *, problem_id: str):
        self._calls += 1
        if self._calls in self._fails:
            raise SandboxFault("the engine is away")
        return await self._real.judge(source, tests, problem_id=problem_id)


def test_a_sample_that_the_sandbox_lost_has_no_reward_and_is_replaced(
    sandbox: ProcessPool, tmp_path: Path
):
    run = make_run(config(), FaultySandbox(sandbox, fails=[2, 5, 6]))
    run_loops(run, tmp_path, sandbox)
    assert run.book.fates == {Fate.TRAINED: 16, Fate.FAULT: 3}
    assert all(len(batch) == 4 for batch in batches(run))


def counted(target: object, name: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name once more for every call from here on."""
    calls, real = [], getattr(target, name)

    def call(*arguments: object, **named: object) -> object:
        calls.append(name)
        return real(*arguments, **named)

    monkeypatch.setattr(target, name, call)
    return calls


def test_a_prompt_is_encoded_once_a_group_also_where_samples_are_replaced(
    sandbox: ProcessPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    encoded = counted(ByteTokenizer, "encode", monkeypatch)
    policy = FakeSampler(right, width=2)
    run = make_run(config(), FaultySandbox(sandbox, fails=[2, 5, 6]), sampler=policy)
    run_loops(run, tmp_path, sandbox)
    # 8 groups; the fake sampler spells out each of its 19 samples
    assert len(encoded) == 8 + 19


def test_a_reward_that_compares_a_groups_samples_is_that_of_the_complete_group(
    sandbox: ProcessPool, tmp_path: Path
):
    def half_right(request: RolloutRequest) -> str:
        text = right(request)
        wrong = text.replace("print(n)", "print(max(n, 3))")
        return wrong if request.ticket.sample_id.endswith("1") else text

    settings = config(steps=1)
    tree = settings.model_dump() | {"reward": {"kind": "verpo"}, "curriculum": {"kind": "none"}}
    run = make_run(RunConfig.model_validate(tree), sandbox, policy=half_right)
    assert run.book.whole_groups
    run_loops(run, tmp_path, sandbox)
    # 7 and 3 are passed by both, −1 by one: weights 1/3, 2/3, 1/3
    found = [round(t.reward, 6) for t in batches(run)[0]]
    assert found == [1.0, round(-0.3 + 1.3 * 0.5 / 2, 6)] * 2
    rows = [json.loads(row) for row in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [round(row["reward"], 6) for row in rows] == found


def test_the_lines_that_carry_loss_are_worked_out_once_a_program(
    sandbox: ProcessPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    found = counted(credit, "credited_lines", monkeypatch)
    run = make_run(config(), sandbox)
    run_loops(run, tmp_path, sandbox)
    written = (tmp_path / "samples.jsonl").read_text().splitlines()
    assert len(found) == len(written) == sum("kept_lines" in row for row in written) == 16


def test_a_sandbox_that_stays_away_ends_the_run_with_one_error(
    sandbox: ProcessPool, tmp_path: Path
):
    run = make_run(config(), FaultySandbox(sandbox, fails=range(10_000)))
    with pytest.raises(RunError, match="in a row were lost, the last to: the engine is away"):
        run_loops(run, tmp_path, sandbox)
    assert run.book.fates[Fate.TRAINED] == 0
    assert run.book.open_ids == frozenset()


class AlwaysFails:
    """Every program of one problem fails: its checker reads answers with `int`, or it crashes."""

    def __init__(self, real: Sandbox, suite: TestSuite, fault: type[SandboxFault]) -> None:
        self._real = real
        self._suite = suite
        self._fault = fault

    async def judge(self, source: str, tests: TestSuite, *, problem_id: str):
        if tests is self._suite:
            raise self._fault("the checker failed on test 1: ValueError")
        return await self._real.judge(source, tests, problem_id=problem_id)


@pytest.mark.parametrize("fault", [CheckerFault, SandboxFault])
def test_a_problem_that_only_fails_is_named_and_the_run_continues_without_it(
    fault: type[SandboxFault],
    sandbox: ProcessPool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
):
    """Other problems have verdicts between its failures: a count over all would never be full."""
    run = make_run(config(), sandbox)
    name, problem = next(iter(run.problems.items()))
    its_own = replace(problem.tests)  # the others share one suite
    run.problems = {**run.problems, name: replace(problem, tests=its_own)}
    run.sandbox = AlwaysFails(sandbox, its_own, fault)
    run_loops(run, tmp_path, sandbox)

    assert f"problem {name} is quarantined: its last 8 samples got no verdict" in caplog.text
    trained = [trajectory for batch in batches(run) for trajectory in batch]
    assert len(trained) == run.config.train.steps * run.config.learner.samples_per_step
    assert name not in {trajectory.ticket.problem_id for trajectory in trained}
    problems_of: dict[str, set[str]] = {}
    for trajectory in trained:
        problems_of.setdefault(trajectory.ticket.group, set()).add(trajectory.ticket.problem_id)
    assert all(len(problems) == 1 for problems in problems_of.values())
    assert run.book.fates[Fate.TRAINED] == len(trained)
    account = ledger_report.report(tmp_path)
    assert account.balances, account.lines


def test_the_last_problem_is_not_quarantined_and_its_broken_checker_ends_the_run():
    lost = LostSamples(2, 3)
    assert [lost.add("p/1", CheckerFault("int('x')")) for _ in range(4)] == [
        False,
        False,
        True,
        False,
    ]
    assert [lost.add("p/2", CheckerFault("int('x')")) for _ in range(2)] == [False, False]
    with pytest.raises(RunError, match="problem p/2: its checker failed on 3 programs in a row"):
        lost.add("p/2", CheckerFault("int('x')"))


def test_a_checker_that_fails_now_and_then_costs_samples_only():
    lost = LostSamples(2, 8)
    for _ in range(100):
        for _ in range(7):
            assert not lost.add("p/1", CheckerFault("int('x')"))
        lost.judged("p/1")
    assert not lost.add("p/2", SandboxFault("the engine is away"))


class DyingSampler(FakeSampler):
    """Is lost after its first completion, a number of times."""

    def __init__(self, deaths: int) -> None:
        super().__init__(right, width=2)
        self._deaths = deaths

    async def sample(self, share):
        async for completion in super().sample(share):
            yield completion
            if self._deaths:
                self._deaths -= 1
                raise RunError("rollout-0 was lost")


def test_what_a_lost_engine_had_not_finished_is_sampled_again(sandbox: ProcessPool, tmp_path: Path):
    run = make_run(config(), sandbox, sampler=DyingSampler(deaths=2))
    run_loops(run, tmp_path, sandbox)
    assert run.book.fates == {Fate.TRAINED: 16}
    ids = [t.ticket.sample_id for batch in batches(run) for t in batch]
    assert len(set(ids)) == 16


class BreaksOn(FakeSampler):
    """Is lost with every share that has a sample of one problem."""

    def __init__(self, problem_id: str) -> None:
        super().__init__(right)
        self._problem_id = problem_id
        self.losses = 0

    async def sample(self, share):
        if any(request.ticket.problem_id == self._problem_id for request in share):
            self.losses += 1
            raise ShareLost("rollout-0 gave up 8 samples: vLLM's engine broke")
        async for completion in super().sample(share):
            yield completion


@pytest.mark.parametrize("mode", ["in turns", "2 steps ahead", "in a strict lag of 2"])
def test_a_problem_that_breaks_engines_is_named_and_the_run_continues_without_it(
    mode: str,
    sandbox: ProcessPool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
):
    settings = config(max_staleness=0 if mode == "in turns" else 2)
    lags = {"deterministic": mode == "in a strict lag of 2"}
    settings = RunConfig.model_validate(settings.model_dump(exclude_unset=True) | lags)
    sampler = BreaksOn(FOUR[1].problem_id)
    run = make_run(settings, sandbox, sampler=sampler)
    run_loops(run, tmp_path, sandbox)
    assert f"problem {FOUR[1].problem_id} is quarantined: 4 engines in a row" in caplog.text
    assert sampler.losses == 4
    trained = [trajectory for batch in batches(run) for trajectory in batch]
    assert len(trained) == run.config.train.steps * run.config.learner.samples_per_step
    assert FOUR[1].problem_id not in {trajectory.ticket.problem_id for trajectory in trained}
    account = ledger_report.report(tmp_path)
    assert account.balances, account.lines
