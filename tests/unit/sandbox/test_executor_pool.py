"""The driver's side of the executors: what their nodes have, seats, starts that fail, suites.

No Ray process, no container.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from ray.exceptions import ObjectStoreFullError, OutOfMemoryError, RayActorError, RayTaskError

from sandbox.pool import executor_handle, suite_store
from sandbox.pool.executor_actor import NodeBackend
from sandbox.pool.executor_pool import ExecutorPool
from sandbox.pool.suite_store import SuiteStore
from stepcoder_dist.config import Backend, RunConfig
from stepcoder_dist.errors import ConfigError, MissingEngine, SandboxFault
from stepcoder_dist.records import Outcome, TestSuite, Verdict

SUITE = TestSuite(inputs=("1\n",), outputs=("2\n",))
PASSED = Verdict(
    outcome=Outcome.PASSED, tests=(), structure=None, coverage_trusted=True, wall_ms=1.0
)


class Actor:
    """Answers as an `ExecutorActor` handle does, until it is closed."""

    failing_starts: int = 0
    never_placed: bool = False
    nodes: ClassVar[dict[str, NodeBackend | Exception]] = {}
    """What an executor finds on its node, by its name; a node with plain processes otherwise."""
    made: ClassVar[list[Actor]] = []
    killed_for_memory: ClassVar[set[str]] = set()
    hung: ClassVar[set[str]] = set()
    """Those that judge nothing until they are closed."""

    def __init__(self, name: str, *_: Any) -> None:
        self.name = name
        self.closed = False
        self.judged = 0
        self.asked = asyncio.Event()
        self.ended = asyncio.Event()
        self.started_with: list[str] = []
        Actor.made.append(self)
        for method in ("choose", "start", "judge", "stats", "close"):
            setattr(self, method, SimpleNamespace(remote=getattr(self, f"_{method}")))

    async def _stats(self) -> dict[str, float]:
        return {}

    async def _choose(self) -> NodeBackend:
        if Actor.never_placed:
            await asyncio.Event().wait()
        found = Actor.nodes.get(self.name, NodeBackend(node="10.0.0.9", backend="process"))
        if isinstance(found, Exception):
            raise RayTaskError("choose", "a traceback", found).as_instanceof_cause()
        return found

    async def _start(self, backend: str) -> None:
        self.started_with.append(backend)
        if Actor.never_placed:
            await asyncio.Event().wait()
        if Actor.failing_starts:
            Actor.failing_starts -= 1
            raise RayTaskError("start", "a traceback", OSError("the engine's answer was cut off"))

    async def _judge(self, *_: Any) -> Verdict:
        self.asked.set()
        for _ in range(3):
            await asyncio.sleep(0)
            if self.name in Actor.killed_for_memory:
                raise OutOfMemoryError("1 worker was killed: the node is low on memory")
            if self.name in Actor.hung:
                await self.ended.wait()
            if self.closed:
                raise RayActorError
        self.judged += 1
        return PASSED

    async def _close(self) -> None:
        self.closed = True
        self.ended.set()


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> ExecutorPool:
    Actor.failing_starts, Actor.never_placed, Actor.nodes, Actor.made = 0, False, {}, []
    Actor.hung, Actor.killed_for_memory = set(), set()
    actor_class = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=Actor))
    monkeypatch.setattr(executor_handle.ray, "remote", lambda _: actor_class)
    monkeypatch.setattr(executor_handle.ray, "kill", lambda _: None)
    monkeypatch.setattr(suite_store.ray, "put", lambda tests: [tests])
    made = {
        "name": "test",
        "model": {"path": "none"},
        "problems": {"train": "none", "heldout": "none"},
        "sandbox": {
            "backend": "auto",
            "number": 2,
            "containers": 2,
            "attempts": 1,
            "start_timeout_s": 0.2,
        },
    }
    return ExecutorPool(RunConfig.model_validate(made))


def on(node: str, backend: Backend) -> NodeBackend:
    return NodeBackend(node=node, backend=backend)


def test_the_runs_backend_is_what_the_executors_find_on_their_nodes_and_stays(pool: ExecutorPool):
    async def run() -> None:
        Actor.nodes = {"sandbox-0": on("10.0.0.1", "docker"), "sandbox-1": on("10.0.0.2", "docker")}
        assert await pool.choose() == "docker"
        assert [actor.started_with for actor in Actor.made] == [[], []]
        await pool.start()
        await pool.resize(3)  # the third looks at its node when it starts, and for this backend
        assert [actor.started_with for actor in Actor.made] == [["docker"]] * 3
        assert pool.backend == "docker"
        await pool.close()

    asyncio.run(run())


def test_nodes_that_differ_are_named_and_nothing_is_started(pool: ExecutorPool):
    async def run() -> None:
        Actor.nodes = {
            "sandbox-0": on("10.0.0.1", "docker"),
            "sandbox-1": on("10.0.0.2", "process"),
        }
        with pytest.raises(ConfigError, match=r"docker on node 10.0.0.1, process on node 10.0.0.2"):
            await pool.start()
        assert [(actor.started_with, actor.closed) for actor in Actor.made] == [([], True)] * 2

    asyncio.run(run())


def test_a_node_without_an_engine_is_said_in_the_executors_own_words(pool: ExecutorPool):
    async def run() -> None:
        Actor.nodes = {"sandbox-1": MissingEngine("node 10.0.0.2: no Docker engine answers")}
        with pytest.raises(MissingEngine) as raised:
            await pool.choose()
        assert str(raised.value) == "node 10.0.0.2: no Docker engine answers"
        assert [(actor.started_with, actor.closed) for actor in Actor.made] == [([], True)] * 2

    asyncio.run(run())


def test_a_large_suite_is_put_into_the_store_once_and_the_oldest_leaves_it(
    monkeypatch: pytest.MonkeyPatch,
):
    put: list[str] = []

    def into_the_store(tests: TestSuite) -> str:
        put.append(f"{tests.inputs[0]}#{len(put)}")
        return put[-1]

    monkeypatch.setattr(suite_store.ray, "put", into_the_store)
    suites = {name: TestSuite(inputs=(name,), outputs=("",)) for name in ("a", "b", "c")}
    store = SuiteStore(most=2, small_bytes=0)
    asked = [store.reference(name, suites[name]) for name in ("a", "a", "b", "a", "c", "a", "b")]
    assert asked == ["a#0", "a#0", "b#1", "a#0", "c#2", "a#0", "b#3"]  # c came for b
    other = TestSuite(inputs=("of a, weaker",), outputs=("",))
    assert store.reference("a", other) == "of a, weaker#4"
    store.forget("a")
    assert store.reference("a", other) == "of a, weaker#5"


def test_a_store_without_room_is_a_fault_that_names_the_problem(monkeypatch: pytest.MonkeyPatch):
    def full(_tests: TestSuite) -> None:
        raise ObjectStoreFullError("no space")

    monkeypatch.setattr(suite_store.ray, "put", full)
    with pytest.raises(SandboxFault, match=r"tests of mbpp/1 cannot be put .*`ray memory`"):
        SuiteStore(small_bytes=0).reference("mbpp/1", SUITE)


def test_a_small_suite_is_handed_over_without_the_store(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(suite_store.ray, "put", lambda _tests: "a reference")
    large = TestSuite(inputs=("1" * 20_000,), outputs=("2\n",))
    assert SuiteStore().reference("mbpp/1", SUITE) is SUITE
    assert SuiteStore().reference("mbpp/2", large) == "a reference"


def test_an_executor_that_goes_waits_for_programs_that_were_just_given_a_seat(pool: ExecutorPool):
    """With one try each, a program whose executor was closed under it would be lost."""

    async def run() -> None:
        await pool.start()
        programs = [
            asyncio.ensure_future(pool.judge("", SUITE, problem_id="double")) for _ in range(400)
        ]

        async def resize() -> None:
            for turn in range(60):
                await pool.resize((1, 3, 2, 4)[turn % 4])
                for _ in range(turn % 5):
                    await asyncio.sleep(0)

        await resize()
        verdicts = await asyncio.gather(*programs)
        assert {verdict.outcome for verdict in verdicts} == {Outcome.PASSED}
        assert pool._restarts == 0
        await pool.close()

    asyncio.run(run())


def test_programs_of_an_executor_that_ray_kills_for_memory_are_judged_elsewhere(
    pool: ExecutorPool,
):
    async def run() -> None:
        pool._config = pool._config.model_copy(update={"attempts": 2})
        await pool.start()
        Actor.killed_for_memory.add("sandbox-0")
        programs = (pool.judge("", SUITE, problem_id="double") for _ in range(2))
        verdicts = await asyncio.gather(*programs)
        assert {verdict.executor for verdict in verdicts} == {"sandbox-1"}
        await pool.close()

    asyncio.run(run())


def test_an_executor_that_goes_does_not_wait_for_ever_for_its_programs(pool: ExecutorPool):
    """What it has not judged by then is judged elsewhere."""

    async def run() -> None:
        pool._config = pool._config.model_copy(update={"leave_timeout_s": 0.02, "attempts": 2})
        await pool.start()
        Actor.hung.add("sandbox-1")
        programs = [
            asyncio.ensure_future(pool.judge("", SUITE, problem_id="double")) for _ in range(4)
        ]
        await asyncio.gather(*(actor.asked.wait() for actor in Actor.made))
        await pool.resize(1)
        verdicts = await asyncio.gather(*programs)
        assert [verdict.executor for verdict in verdicts] == ["sandbox-0"] * 4
        await pool.close()

    asyncio.run(run())


def test_the_last_resize_counts_also_while_an_earlier_one_starts_executors(pool: ExecutorPool):
    async def run() -> None:
        await pool.start()
        Actor.never_placed = True
        growing = asyncio.ensure_future(pool.resize(4))
        for _ in range(5):  # the starts begin
            await asyncio.sleep(0)
        status = await pool.status()
        assert (status.wanted, status.count("ready"), status.count("starting")) == (4, 2, 2)
        await pool.resize(1)
        with pytest.raises(SandboxFault, match="a later command took executors away"):
            await growing
        status = await pool.status()
        assert [(each.name, each.state) for each in status.members] == [("sandbox-0", "ready")]
        assert (status.wanted, pool.number) == (1, 1)
        assert (await pool.judge("", SUITE, problem_id="double")).outcome is Outcome.PASSED
        await pool.close()

    asyncio.run(run())


def test_a_resize_that_fails_leaves_what_was_wanted_before(pool: ExecutorPool):
    """Else the next resize of another pool asks for room for it too."""

    async def run() -> None:
        await pool.start()
        Actor.failing_starts = 1
        with pytest.raises(SandboxFault, match=r"sandbox-\d did not start"):
            await pool.resize(4)
        assert ((await pool.status()).wanted, pool.number) == (2, 2)
        await pool.close()

    asyncio.run(run())


def test_a_resize_that_nobody_waits_for_any_more_leaves_no_executor_without_places(
    pool: ExecutorPool,
):
    """As where the learner is lost and starts again: the pools stay."""

    async def run() -> None:
        await pool.start()
        Actor.never_placed = True
        growing = asyncio.ensure_future(pool.resize(4))
        for _ in range(5):  # the starts begin
            await asyncio.sleep(0)
        growing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await growing
        status = await pool.status()
        assert [each.name for each in status.members] == ["sandbox-0", "sandbox-1"]
        assert (status.wanted, pool.number) == (2, 2)
        assert [actor.closed for actor in Actor.made] == [False, False, True, True]
        await pool.close()

    asyncio.run(run())


def test_an_executor_that_was_to_go_goes_also_where_nobody_waits_for_it_any_more(
    pool: ExecutorPool,
):
    async def run() -> None:
        pool._config = pool._config.model_copy(update={"attempts": 2})
        await pool.start()
        Actor.hung |= {"sandbox-0", "sandbox-1"}
        programs = [
            asyncio.ensure_future(pool.judge("", SUITE, problem_id="double")) for _ in range(4)
        ]
        await asyncio.gather(*(actor.asked.wait() for actor in Actor.made))
        shrinking = asyncio.ensure_future(pool.resize(1))
        await asyncio.sleep(0.01)
        shrinking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await shrinking
        assert [each.name for each in (await pool.status()).members] == ["sandbox-0"]
        Actor.hung.clear()
        Actor.made[0].ended.set()
        verdicts = await asyncio.gather(*programs)
        assert [verdict.executor for verdict in verdicts] == ["sandbox-0"] * 4
        await pool.close()

    asyncio.run(run())


def test_a_cancelled_program_gives_its_seat_back_to_one_that_is_going(pool: ExecutorPool):
    async def run() -> None:
        await pool.start()
        programs = [
            asyncio.ensure_future(pool.judge("", SUITE, problem_id="double")) for _ in range(12)
        ]
        await asyncio.sleep(0)
        going = asyncio.ensure_future(pool.resize(1))
        for program in programs[::2]:
            program.cancel()
        await asyncio.wait_for(going, 10)
        told = await asyncio.gather(*programs, return_exceptions=True)
        assert [isinstance(each, Verdict) for each in told] == [False, True] * 6
        await pool.close()

    asyncio.run(run())


def test_a_start_that_fails_in_any_way_is_a_fault_and_tried_anew(pool: ExecutorPool):
    async def run() -> None:
        Actor.failing_starts = 1
        with pytest.raises(SandboxFault, match=r"sandbox-\d did not start"):
            await pool.start()
        await pool.start()
        assert (await pool.judge("", SUITE, problem_id="double")).outcome is Outcome.PASSED
        await pool.close()

    asyncio.run(run())


def test_an_executor_that_no_node_has_room_for_is_a_fault_that_says_what_to_look_at(
    pool: ExecutorPool,
):
    async def run() -> None:
        Actor.never_placed = True
        with pytest.raises(SandboxFault, match=r"start_timeout_s = 0.2; `ray status` shows"):
            await pool.start()
        Actor.never_placed = False
        await pool.start()
        assert (await pool.judge("", SUITE, problem_id="double")).outcome is Outcome.PASSED
        await pool.close()

    asyncio.run(run())


def test_a_lost_executor_gets_no_program_until_its_node_is_back(pool: ExecutorPool):
    """With one try each, a program that waits for its start would be lost."""

    async def run() -> None:
        await pool.start()
        Actor.never_placed = True
        Actor.made[0].closed = True
        first = await asyncio.gather(*(judged(pool) for _ in range(8)), return_exceptions=True)
        assert 1 <= sum(isinstance(each, SandboxFault) for each in first) <= 2  # what it had
        assert pool.number == 1
        for _ in range(8):
            verdicts = await asyncio.gather(*(judged(pool) for _ in range(8)))
            assert {verdict.executor for verdict in verdicts} == {"sandbox-1"}
        Actor.never_placed = False
        returning = pool._executors[0].returning
        assert returning is not None
        await asyncio.wait({returning}, timeout=10)
        assert pool.number == 2
        verdicts = await asyncio.gather(*(judged(pool) for _ in range(8)))
        assert {verdict.executor for verdict in verdicts} == {"sandbox-0", "sandbox-1"}
        await pool.close()

    asyncio.run(run())


def test_where_every_executor_is_lost_programs_wait_for_the_start_of_one(pool: ExecutorPool):
    async def run() -> None:
        await pool.start()
        Actor.never_placed = True
        for actor in Actor.made:
            actor.closed = True
        await asyncio.gather(*(judged(pool) for _ in range(4)), return_exceptions=True)
        with pytest.raises(SandboxFault, match=r"was not up within sandbox\.start_timeout_s"):
            await judged(pool)
        Actor.never_placed = False
        async with asyncio.timeout(10):
            while pool.number < 2:
                await asyncio.gather(judged(pool), judged(pool), return_exceptions=True)
        verdicts = await asyncio.gather(*(judged(pool) for _ in range(8)))
        assert {verdict.outcome for verdict in verdicts} == {Outcome.PASSED}
        await pool.close()

    asyncio.run(run())


async def judged(pool: ExecutorPool) -> Verdict:
    return await pool.judge("", SUITE, problem_id="double")
