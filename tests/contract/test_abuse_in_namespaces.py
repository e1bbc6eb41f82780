"""The hostile programs all together in what bubblewrap makes: none passes, hurts, or stays."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

import pytest
from hostile_corpus import CONFIG, CORPUS, LOOKING, SECRET, SLOW
from hostile_system import ENDS_ITS_CONTAINER
from sandbox_cases import stdin_tests
from script_cases import DOUBLES, FINDS_THE_SCRIPT

from sandbox.bubblewrap.bubblewrap_pool import BubblewrapPool
from stepcoder_dist.errors import MissingEngine
from stepcoder_dist.records import Outcome, Verdict

pytestmark = pytest.mark.bubblewrap

PLACES = 3
COSTS_ITS_PLACE = ENDS_ITS_CONTAINER | {
    "leaves connections that linger",
    "keeps its memory in files in memory",
    "keeps its memory in sockets",
    "keeps its memory in pipes",
}
"""The kernel forgets a closed connection after a minute. With one user for all, a program has no
mark by which the kernel prefers it to its zygote when memory runs out."""
SCRIPTED = {f"finds the script {n}": (s, DOUBLES) for n, s in FINDS_THE_SCRIPT.items()}
ALL = CORPUS | SCRIPTED
QUICK = sorted(ALL.keys() - SLOW)


@pytest.fixture(params=["users of their own", "one user for all"])
def pool(request: pytest.FixtureRequest) -> Iterator[BubblewrapPool]:
    """`one user for all` is how it runs where nobody is root."""
    config = CONFIG.model_copy(update={"containers": PLACES})
    try:
        yield BubblewrapPool(config, alone=request.param == "one user for all")
    except MissingEngine as error:
        pytest.skip(str(error))


def together(pool: BubblewrapPool, names: Iterable[str]) -> dict[str, Verdict]:
    """The verdicts of these programs; each place is looked into before, and after all of them."""

    async def judged() -> list[Verdict]:
        async with pool:
            looks = [(LOOKING, SECRET)] * PLACES
            clean = {v.detail for v in await all_of(looks)}
            verdicts = await all_of([ALL[name] for name in names])
            after = ("print(int(input()) + 1)\n", stdin_tests(("1", "2"), ("2", "3")))
            assert [v.outcome for v in await all_of([after] * PLACES)] == [Outcome.PASSED] * PLACES
            assert {v.detail for v in await all_of(looks)} <= clean
            return verdicts

    async def all_of(programs) -> list[Verdict]:
        judging = (pool.judge(s, t, problem_id=str(i)) for i, (s, t) in enumerate(programs))
        return await asyncio.gather(*judging)

    return dict(zip(names, asyncio.run(judged()), strict=True))


def none_passes(pool: BubblewrapPool, names: list[str]) -> None:
    verdicts = together(pool, names)
    passed = [n for n, v in verdicts.items() if v.outcome is Outcome.PASSED or v.tests_passed]
    assert passed == []
    assert pool.stats.faults == 0
    assert pool.stats.recycled <= len(COSTS_ITS_PLACE & set(names))


def test_no_hostile_program_passes_or_leaves_anything(pool):
    none_passes(pool, QUICK)


@pytest.mark.long
def test_nor_does_one_that_runs_into_a_limit(pool):
    none_passes(pool, sorted(SLOW))
