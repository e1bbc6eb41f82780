"""Replies that come twice, or after another engine was asked: one of them counts."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from runs_for_tests import Scene, config, rows

from stepcoder_dist.errors import RunError
from stepcoder_dist.loop.book.lines import Fate
from stepcoder_dist.loop.fakes import FakeSampler
from stepcoder_dist.records import Completion, RolloutRequest
from stepcoder_dist.run import ledger_report

pytestmark = pytest.mark.faults


class Twice(FakeSampler):
    """Delivers every completion twice."""

    async def sample(self, share: Sequence[RolloutRequest]) -> AsyncIterator[Completion]:
        async for completion in super().sample(share):
            yield completion
            yield completion


class Late(FakeSampler):
    """An engine is given up in the middle of every share; then it answers before its successor.

    Its late replies are of samples that it had answered, and of those that it had not.
    """

    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)  # type: ignore[arg-type]
        self._late: dict[str, list[Completion]] = {}

    async def sample(self, share: Sequence[RolloutRequest]) -> AsyncIterator[Completion]:
        late = self._late.pop(share[-1].ticket.sample_id, None)
        if late is None:
            made = [completion async for completion in super().sample(share)]
            self._late[share[-1].ticket.sample_id] = made
            for completion in made[:-1]:
                yield completion
            raise RunError("the engine answers nothing")
        for completion in late:
            yield completion
        async for completion in super().sample(share):
            yield completion


@pytest.mark.parametrize("staleness", [0, 2])
@pytest.mark.parametrize("sampler", [Twice, Late])
def test_a_reply_that_comes_twice_or_late_is_judged_and_trained_once(
    sampler: type[FakeSampler], staleness: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.WARNING)
    scene = Scene(
        tmp_path,
        config(max_staleness=staleness),
        sampler=sampler(Scene.right, width=2),
    )
    with closing(scene):
        scene.train()
    assert scene.run.book.fates[Fate.TRAINED] == 16
    trained = [row["sample_id"] for row in rows(tmp_path / "samples.jsonl")]
    assert len(set(trained)) == len(trained) == 16
    account = ledger_report.report(tmp_path)
    assert account.balances, account.lines
    assert f"{trained[0]} was answered twice: one reply counts" in caplog.messages
