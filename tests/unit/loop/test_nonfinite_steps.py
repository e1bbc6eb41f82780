"""A learner step that was not finite: its samples, its batch on disk, and when the run ends."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from runs_for_tests import Scene, config, problems, rows

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import RunError
from stepcoder_dist.loop.book.lines import Fate
from stepcoder_dist.loop.fakes import ByteTokenizer, FakeLearner, FakeSampler
from stepcoder_dist.loop.run import Run
from stepcoder_dist.records import StepReport, Trajectory
from stepcoder_dist.run import ledger_report, nonfinite_batches, session
from stepcoder_dist.run.sinks.metric_sinks import JsonLines
from stepcoder_dist.text.program import PromptWriter


class Spoilt(FakeLearner):
    """Reports some steps as skipped: of all samples, or of the first of its minibatches."""

    def __init__(self, bad: Collection[int], samples: int = 4) -> None:
        super().__init__()
        self._bad = bad
        self._samples = samples

    async def step(self, batch: Sequence[Trajectory]) -> StepReport:
        report = await super().step(batch)
        if report.version not in self._bad:
            return report
        untrained = tuple(range(self._samples))
        return replace(report, not_finite="policy_loss is nan on rank 1", untrained=untrained)


def train(path: Path, learner: FakeLearner, settings: RunConfig | None = None) -> Run:
    settings = settings or config()
    scene = Scene(path, settings)
    pools = session.Pools(FakeSampler(Scene.right, width=2), scene.run.sandbox)
    writer = PromptWriter(ByteTokenizer(), settings.prompt)
    run = session.compose(settings, problems(), writer, pools, learner)
    sinks = [JsonLines(path / "metrics.jsonl")]
    try:
        asyncio.run(session.train(run, scene.folder, sinks, Console(quiet=True)))
    finally:
        scene.close()
    return run


@pytest.mark.parametrize("staleness", [0, 1])
def test_the_samples_of_a_skipped_step_are_rejected_with_the_reason_and_the_run_goes_on(
    tmp_path: Path, staleness: int, caplog: pytest.LogCaptureFixture
) -> None:
    run = train(tmp_path, Spoilt({2}), config(max_staleness=staleness))

    assert run.book.version == 4
    assert run.book.fates[Fate.TRAINED] == 12
    assert run.book.fates[Fate.REJECTED] == 4
    rejected = [row for row in rows(tmp_path / "ledger.jsonl") if row["event"] == "rejected"]
    assert [(row["step"], row["why"], len(row["samples"])) for row in rejected] == [
        (2, "non_finite", 4)
    ]
    assert {row["step"] for row in rows(tmp_path / "samples.jsonl")} == {1, 3, 4}
    account = ledger_report.report(tmp_path)
    assert account.balances, account.lines
    assert "(1 of at most 3 such steps in a row)" in caplog.text
    # what the sandbox said of them is evidence all the same
    assert run.curriculum.mean_stage == 0


def test_of_two_minibatches_the_samples_of_the_one_that_was_trained_are_trained(
    tmp_path: Path,
) -> None:
    run = train(tmp_path, Spoilt({2}, samples=2))

    assert (run.book.fates[Fate.TRAINED], run.book.fates[Fate.REJECTED]) == (14, 2)
    account = ledger_report.report(tmp_path)
    assert account.balances, account.lines


def test_the_lines_of_the_documentation_read_the_batch(tmp_path: Path) -> None:
    train(tmp_path, Spoilt({2}))

    page = (Path(__file__).parents[3] / "docs" / "faults.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    printed: list[tuple[object, ...]] = []
    path = tmp_path / "nonfinite" / "step_000002.npz"
    code = code.replace("runs/demo/nonfinite/step_000012.npz", str(path))
    exec(code, {"print": lambda *words: printed.append(words)})
    assert str(printed[0][0]) == "policy_loss is nan on rank 1"
    assert [str(words[0]) for words in printed[1::2]] == [
        f"s000001-000{group}-000{sample}" for group in (0, 1) for sample in (0, 1)
    ]
    assert [words[2:] for words in printed[1::2]] == [(1.0, np.float32(-1.0))] * 4
    assert all("print(n)" in str(words[0]) for words in printed[2::2])


def test_the_run_ends_after_so_many_in_a_row_and_names_the_batch(tmp_path: Path) -> None:
    settings = config(steps=12)
    limit = {"max_nonfinite_steps": 2}
    settings = settings.model_copy(update={"learner": settings.learner.model_copy(update=limit)})

    with pytest.raises(RunError) as error:
        train(tmp_path, Spoilt({2, 4, 5, 7}), settings)

    assert "2 learner steps in a row were not finite" in str(error.value)
    path = tmp_path / "nonfinite" / "step_000005.npz"
    assert f"step 5: policy_loss is nan on rank 1; its batch is {path}" in str(error.value)
    assert path.exists()
    account = ledger_report.report(tmp_path)
    assert account.balances, account.lines


def test_only_the_newest_batches_are_kept(tmp_path: Path) -> None:
    settings = config(steps=20)
    bad = set(range(1, 21, 2))
    train(tmp_path, Spoilt(bad), settings)
    kept = sorted(path.name for path in (tmp_path / nonfinite_batches.FOLDER).iterdir())
    assert kept == [f"step_{step:06d}.npz" for step in range(5, 20, 2)]


def test_a_disk_without_room_for_the_batch_does_not_end_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "nonfinite").write_text("no folder can be made here")
    run = train(tmp_path, Spoilt({2}))
    assert run.book.version == 4
    assert "its batch is not written (" in caplog.text
