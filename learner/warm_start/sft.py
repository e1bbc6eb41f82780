"""The supervised warm start: reference solutions imitated on the learner's own engines.

report = await WarmStart(config, examples, base, work, on_progress).run(Path(config.sft_folder))
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from learner.rank_group import RankGroup
from learner.saving import saving_round
from learner.warm_start.sft_plan import Phase, SftStep, measured_after, plan
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import Interrupted
from stepcoder_dist.host.interruption import StopRequest
from stepcoder_dist.ports import LastWords, Placement, anywhere, unheard
from stepcoder_dist.sft.examples import SftExamples
from stepcoder_dist.sft.work import SftWork

if TYPE_CHECKING:
    from learner.warm_start.sft_worker import SftWorker

STEPS_A_CALL = 4
"""Optimiser updates between two reports, where four take less than a second: few enough for a
lively bar, enough to hide the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SftProgress:
    """The state that a progress bar shows after each update."""

    phase: int
    step: int
    """1-based, over all phases."""
    steps: int
    """Of all phases."""
    last: SftStep
    heldout_loss: float | None
    """The held-out loss as it was measured last, nats a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SftReport:
    """How the warm start ended."""

    steps: int
    final_loss: float
    """The loss of the last update's batch, nats a token."""
    heldout_loss: float | None
    """Mean over the held-out examples, nats a token; None without any."""
    rows: list[dict[str, Any]]
    """What metrics.jsonl holds."""


def _worker() -> type[SftWorker]:
    """Return the class of a rank, in its own process: it needs torch."""
    from learner.warm_start.sft_worker import SftWorker

    return SftWorker


class WarmStart:
    """One warm start over all ranks. Needs a running Ray."""

    def __init__(
        self,
        config: RunConfig,
        examples: SftExamples,
        base: str,
        work: SftWork,
        on_progress: Callable[[SftProgress], None],
        stop: StopRequest | None = None,
        *,
        placement: Placement = anywhere,
        last_words: LastWords = unheard,
    ) -> None:
        """`base` is the Hugging Face checkpoint to train; `work` was begun or is to be resumed."""
        counts = [len(phase) for phase in examples.phases]
        self.legs = plan(config.sft, counts, config.seed)
        self.total = sum(leg.steps for leg in self.legs)
        self._config = config
        self._examples = examples
        self._work = work
        self._on_progress = on_progress
        self._stop = stop or StopRequest()
        self._measured = measured_after(config.sft, self.legs, counts[0])
        self._ranks = RankGroup(
            _worker, config, base, name="sft", placement=placement, last_words=last_words
        )
        self._done = work.updates
        self._heldout_loss: float | None = None

    async def run(self, out: Path) -> SftReport:
        """Train, and write `out`: an ordinary Hugging Face folder, complete or not at all.

        A record of how it was made (`stepcoder.json`) and the rows of `metrics.jsonl` lie in it.
        Raises `Interrupted` after a checkpoint when asked to stop.
        """
        try:
            await self._ranks.start()
            await self._ranks.call("take", ray.put(self._examples))
            if self._work.resumed:
                await self._load(str(self._work.resumed))
            else:
                await self._measure({"step": 0})
            await self._train()
            rows = self._work.rows()
            await self._ranks.call("save_hf", str(out), self._record(rows))
            self._work.finish(out)
        finally:
            await self._ranks.close()
        return SftReport(
            steps=self._done,
            final_loss=rows[-1]["loss"],
            heldout_loss=self._heldout_loss,
            rows=rows,
        )

    async def _train(self) -> None:
        first = 0
        for leg in self.legs:
            while self._done < first + leg.steps:
                await self._steps(leg, self._done - first, self._until(first + leg.steps))
            first += leg.steps

    def _until(self, leg_end: int) -> int:
        """Return how many updates may follow before something else is to be done."""
        every = self._config.sft.checkpoint_every
        stops = [leg_end, *(update for update in self._measured if update > self._done)]
        if every:
            stops.append((self._done // every + 1) * every)
        return min(stops) - self._done

    async def _steps(self, leg: Phase, first: int, count: int) -> None:
        """Do the phase's next `count` updates, and what is due after the last of them."""
        calls, asked = first, STEPS_A_CALL
        while calls < first + count:
            began = time.perf_counter()
            part = min(asked, first + count - calls)
            for update in (await self._ranks.call("steps", leg, calls, part))[0]:
                self._done += 1
                calls += 1
                row = {"step": self._done, "phase": leg.number, **asdict(update)}
                if self._done in self._measured:
                    await self._measure(row)
                else:
                    self._work.record(row)
                self._report(leg, update)
            if self._stop.asked and self._done < self.total:
                raise await self._stopped()
            asked = STEPS_A_CALL if time.perf_counter() - began < 1 else 1
        every = self._config.sft.checkpoint_every
        if every and self._done % every == 0 and self._done < self.total:
            await self._save()

    def _report(self, leg: Phase, update: SftStep) -> None:
        self._on_progress(
            SftProgress(
                phase=leg.number,
                step=self._done,
                steps=self.total,
                last=update,
                heldout_loss=self._heldout_loss,
            )
        )

    async def _measure(self, row: dict[str, Any]) -> None:
        """Record the row with the held-out loss, where there are examples for it."""
        if self._examples.heldout:
            self._heldout_loss = (await self._ranks.call("heldout_loss"))[0]
            row["heldout_loss"] = self._heldout_loss
        if len(row) > 1:
            self._work.record(row)

    async def _save(self) -> None:
        draft = self._work.draft(self._done)
        # nothing to gain from a copy: checkpoints are rare, and nobody waits for the next update
        await (await saving_round.take(self._ranks, str(draft / "learner"), copied=False))
        self._work.commit(draft, self._done)

    async def _load(self, folder: str) -> None:
        await self._ranks.call_one(0, "verify", folder)
        await self._ranks.call("load", folder)
        measured = [row["heldout_loss"] for row in self._work.rows() if "heldout_loss" in row]
        self._heldout_loss = measured[-1] if measured else None

    async def _stopped(self) -> Interrupted:
        await self._save()
        return Interrupted(
            self._stop.signal,
            f"checkpoint of update {self._done} of {self.total} in {self._work.path}; "
            "`stepcoder sft RUN.toml --resume` continues",
        )

    def _record(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """`stepcoder.json`, but for what a rank adds: versions of its libraries, checksums."""
        config, model = self._config, self._config.model
        curve = {str(row["step"]): row["heldout_loss"] for row in rows if "heldout_loss" in row}
        return {
            "made_by": "stepcoder sft",
            "seed": config.seed,
            "problems": config.problems.of_warm_start,
            "prompt": config.prompt.template or config.prompt.task,
            "prompt_style": config.prompt.style,
            "base": model.tiny.model_dump() if model.tiny else model.path,
            "sft": config.sft.model_dump(mode="json"),
            "examples": [len(phase) for phase in self._examples.phases],
            "updates": self._done,
            "final_loss": rows[-1]["loss"],
            "heldout_problems": self._examples.heldout_source,
            "heldout_examples": len(self._examples.heldout),
            "heldout_loss": self._heldout_loss,
            "heldout_loss_after": curve,
        }
