"""What a live run answers: its sizes, its status, and errors of one line. No Ray process."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from runs_for_tests import config, problems

pytest.importorskip("ray")

from stepcoder_dist.cli import commands
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError, RunError
from stepcoder_dist.launch.control import answers, asking, commands as control_commands
from stepcoder_dist.launch.control.answers import RunControl
from stepcoder_dist.launch.control.autoscaler import Autoscaler
from stepcoder_dist.loop.fakes import ByteTokenizer, FakeLearner, FakeSampler
from stepcoder_dist.loop.run import LastStep
from stepcoder_dist.loop.stages.bottleneck import Sizes, bottleneck
from stepcoder_dist.loop.stages.stage_clock import Stage, StageSeconds
from stepcoder_dist.pool_status import Member, PoolStatus
from stepcoder_dist.run import session
from stepcoder_dist.text.program import PromptWriter


class Pool:
    """A pool that has at once what it is asked for."""

    def __init__(self, name: str, number: int) -> None:
        self._name = name
        self.number = number
        self.fails = ""

    async def resize(self, number: int) -> None:
        if self.fails:
            raise RunError(self.fails)
        self.number = number

    async def status(self) -> PoolStatus:
        members = (
            Member(name=f"{self._name}-{i}", state="ready", load=3) for i in range(self.number)
        )
        return PoolStatus(wanted=self.number, members=tuple(members), waiting=1)


def control(settings: RunConfig) -> tuple[RunControl, dict[str, Pool]]:
    pools = {"rollouts": Pool("rollout", 1), "sandboxes": Pool("sandbox", 2)}
    writer = PromptWriter(ByteTokenizer(), settings.prompt)
    made = session.Pools(FakeSampler(lambda _: ""), SimpleNamespace(), executors=pools["sandboxes"])  # type: ignore[arg-type]
    run = session.compose(settings, problems(), writer, made, FakeLearner())
    return RunControl(run, Path("/runs/loops"), pools), pools


@pytest.fixture(autouse=True)
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0})
    # a command sets it for its own process, which here is that of all tests
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


def asked(settings: RunConfig, **question: Any) -> dict[str, Any]:
    return run(control(settings)[0].answer(question))


def run(work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    return asyncio.run(work)


def with_keys(**sections: dict[str, object]) -> RunConfig:
    keys = config().model_dump()
    for section, changes in sections.items():
        keys[section] |= changes
    return RunConfig.model_validate(keys)


def test_pools_are_resized_together_and_their_sizes_answered():
    answer = asked(config(), ask="scale", rollouts=3, sandboxes=1)
    assert answer == {"scaled": {"rollouts": [1, 3], "sandboxes": [2, 1]}, "divides_steps": True}
    answer = asked(config(max_staleness=1), ask="scale", sandboxes=4, rollouts=None)
    assert answer == {"scaled": {"sandboxes": [2, 4]}, "divides_steps": False}


def test_more_than_the_cluster_has_is_refused_unless_nodes_are_waited_for():
    # 1 rank, 20 actors, 2 executors of a CPU each
    short = r"20 rollouts and 2 sandboxes take, with the learner, 23 CPU \(the cluster has 8\); ask"
    with pytest.raises(ConfigError, match=short):
        asked(config(), ask="scale", rollouts=20)
    assert asked(config(), ask="scale", rollouts=20, wait_for_nodes=True)["scaled"]
    with pytest.raises(ConfigError, match=r"2 GPU \(the cluster has 0\)"):
        asked(with_keys(actors={"resources": {"num_gpus": 1}}), ask="scale", rollouts=2)


def test_a_smaller_pool_is_never_too_large(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 1.0})  # nodes were lost
    assert asked(config(), ask="scale", sandboxes=1)["scaled"] == {"sandboxes": [2, 1]}


def test_a_number_outside_of_the_run_files_bounds_is_refused():
    bounded = with_keys(sandbox={"number": 2, "min": 2, "max": 3})
    bounds = r"4 sandboxes are not within \[sandbox\] min = 2 and \[sandbox\] max = 3 of its run"
    with pytest.raises(ConfigError, match=bounds):
        asked(bounded, ask="scale", sandboxes=4)
    with pytest.raises(ConfigError, match="1 sandboxes are not within"):
        asked(bounded, ask="scale", sandboxes=1)


def test_pairs_of_actors_and_ranks_cannot_be_scaled():
    shared = {"num_cpus": 1.0, "num_gpus": 0.5, "custom": {}}
    keys = config().model_dump() | {"colocate": True}
    keys["actors"] |= {"resources": shared}
    keys["learner"] |= {"resources": shared}
    paired = RunConfig.model_validate(keys)
    with pytest.raises(ConfigError, match="colocate = true pairs"):
        asked(paired, ask="scale", rollouts=2)


def test_a_pool_that_cannot_grow_answers_with_its_error():
    made, pools = control(config())
    pools["rollouts"].fails = "rollout-1 did not start"
    with pytest.raises(RunError, match="rollout-1 did not start"):
        run(made.answer({"ask": "scale", "rollouts": 2, "sandboxes": 3}))
    assert pools["sandboxes"].number == 3


def test_the_status_has_pools_steps_and_samples_as_plain_data():
    answer = asked(config(), ask="status")
    assert (answer["step"], answer["steps"], answer["run_dir"]) == (0, 4, "/runs/loops")
    assert answer["pools"]["sandboxes"]["wanted"] == 2
    assert answer["pools"]["sandboxes"]["load"] == 6
    assert answer["last_step"] is None
    assert list(control_commands.lines("loops", answer)) == [
        "run loops: step 0 of 4, /runs/loops",
        "rollouts: 1 wanted; 1 ready; 3 under way, 1 waiting",
        "sandboxes: 2 wanted; 2 ready; 6 under way, 1 waiting",
        "learner: idle",
        "samples: 0 under way, of which 0 wait for the learner; 0 trained, 0 rejected, 0 lost",
    ]


def test_the_status_says_what_the_learner_does_or_waits_for():
    def now(*working: Stage) -> str:
        return answers.learner_now(frozenset(working), 41)

    assert now() == "idle"
    assert now(Stage.SAMPLING, Stage.JUDGING) == "waiting for the rollouts"
    assert now(Stage.JUDGING) == "waiting for the sandbox"
    assert now(Stage.LEARNING, Stage.SAMPLING) == "in step 42"
    assert now(Stage.PUSHING, Stage.SAVING) == "sending weights, writing a checkpoint"


def test_a_question_of_another_version_is_an_error():
    with pytest.raises(RunError, match="versions differ"):
        asked(config(), ask="dance")


@pytest.mark.parametrize(
    ("live", "run_name", "error"),
    [
        ([], "", "no run is live in the Ray cluster at h:1; a run answers from its first step"),
        ([], "a", "no run a is live in the Ray cluster at h:1$"),
        (["a", "b"], "", r"2 runs are live in the Ray cluster at h:1 \(a, b\): choose one with"),
        (["a", "b"], "c", "no run c is live in the Ray cluster at h:1; there are: a, b"),
    ],
)
def test_a_run_that_cannot_be_meant_is_one_line(live: list[str], run_name: str, error: str):
    with pytest.raises(ConfigError, match=error):
        asking.choose(live, run_name, "h:1")


def test_the_only_run_is_meant_where_none_is_named():
    assert asking.choose(["a"], "", "h:1") == "a"
    assert asking.choose(["a", "b"], "b", "h:1") == "b"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["scale"], "nothing to scale: give --rollouts N, --sandboxes M, or both"),
        (["status", "--address", "127.0.0.1:1"], "--address = 127.0.0.1:1: no Ray cluster answers"),
        (["scale", "--rollouts", "0"], "--rollouts 0: a pool has at least one process"),
    ],
)
def test_a_mistake_in_a_command_is_one_line(
    capfd: pytest.CaptureFixture[str], arguments: list[str], said: str
):
    assert commands.run(arguments) == 2
    seen = capfd.readouterr().err
    assert said in seen
    assert "Traceback" not in seen


def test_room_is_counted_with_the_learner():
    answers.check_room(config(), {"rollouts": 5, "sandboxes": 2})
    with pytest.raises(ConfigError):
        answers.check_room(config(), {"rollouts": 6, "sandboxes": 2})


# ---------------------------------------------------------------- autoscaling


FULL = StageSeconds(
    step_s=100.0,
    sampling_s=50.0,
    judging_s=100.0,
    learner_waits_for_rollouts_s=0.0,
    learner_waits_for_sandbox_s=0.0,
    rollouts_wait_for_sandbox_s=50.0,
    rollouts_wait_for_learner_s=0.0,
    rollouts_wait_for_push_s=0.0,
    rollouts_wait_for_checkpoint_s=0.0,
    programs=1000,
    judged_s=400.0,
    queued_s=4000.0,
)
"""Engines wait for 2 executors of 2 containers that a queue is before: twice as many would do."""


def steps_of(seconds: StageSeconds) -> LastStep:
    sizes = Sizes(rollouts=1, executors=2, containers=2, max_staleness=0)
    return LastStep(3, seconds, bottleneck(seconds, sizes))


def test_a_pool_that_was_too_small_for_two_steps_is_resized_next_to_the_run():
    settings = with_keys(sandbox={"number": 2, "max": 8, "autoscale": True})
    made, pools = control(settings)
    notes: list[str] = []

    async def scenario() -> None:
        async with Autoscaler.opened(settings, made, made._run.sizes, notes.append) as scaler:
            scaler.after_step(steps_of(FULL))
            await asyncio.sleep(0)
            assert pools["sandboxes"].number == 2
            scaler.after_step(steps_of(FULL))
            assert notes == ["step 3: autoscale 2 → 4 sandboxes"]
            for _ in range(5):
                await asyncio.sleep(0)
        assert (pools["sandboxes"].number, pools["rollouts"].number) == (4, 1)

    asyncio.run(scenario())


def test_a_pool_that_cannot_grow_is_noted_and_the_run_continues():
    settings = with_keys(sandbox={"number": 2, "max": 8, "autoscale": True})
    made, pools = control(settings)
    pools["sandboxes"].fails = "sandbox-2 was not up within sandbox.start_timeout_s = 300"
    notes: list[str] = []

    async def scenario() -> None:
        async with Autoscaler.opened(settings, made, made._run.sizes, notes.append) as scaler:
            for _ in range(2):
                scaler.after_step(steps_of(FULL))
            for _ in range(5):
                await asyncio.sleep(0)
        assert notes[-1] == f"autoscale: no 4 sandboxes: {pools['sandboxes'].fails}"

    asyncio.run(scenario())


def test_a_pool_without_the_key_keeps_its_size():
    made, pools = control(config())

    async def scenario() -> None:
        async with Autoscaler.opened(config(), made, made._run.sizes, print) as scaler:
            for _ in range(9):
                scaler.after_step(steps_of(FULL))
                await asyncio.sleep(0)
        assert pools["sandboxes"].number == 2

    asyncio.run(scenario())
