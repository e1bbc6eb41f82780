"""One run: the parts that both loops see, and the state that a checkpoint holds of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stepcoder_dist.config import RunConfig
from stepcoder_dist.host.interruption import StopRequest
from stepcoder_dist.loop.patience import Patience
from stepcoder_dist.loop.planner import Planner
from stepcoder_dist.loop.sample_book import SampleBook
from stepcoder_dist.loop.stages.bottleneck import Bottleneck, Sizes
from stepcoder_dist.loop.stages.stage_clock import StageClock, StageSeconds
from stepcoder_dist.loop.tracing.trace_log import TraceLog
from stepcoder_dist.method.curriculum import Curriculum
from stepcoder_dist.pool_status import ElasticPool
from stepcoder_dist.ports import Learner, Sampler, Sandbox
from stepcoder_dist.records import Problem, WeightVersion
from stepcoder_dist.text.program import PromptWriter

STATE_KEYS = frozenset(
    {
        "version",
        "config",
        "sources",
        "curriculum",
        "planner",
        "planned_steps",
        "on_their_way",
        "groups",
        "samples",
    }
)
"""What `Run.state` holds."""


async def nothing(_version: WeightVersion) -> None:
    """Do nothing between two steps."""


@dataclass(frozen=True, slots=True)
class LastStep:
    """What was measured of a step."""

    version: WeightVersion
    seconds: StageSeconds
    bottleneck: Bottleneck


def always(_version: WeightVersion) -> bool:
    return True


@dataclass(slots=True)
class Run:
    """The parts of one run, which both loops see. `run/session.py` joins them."""

    config: RunConfig
    problems: Mapping[str, Problem]
    curriculum: Curriculum
    planner: Planner
    writer: PromptWriter
    sampler: Sampler
    sandbox: Sandbox
    learner: Learner
    sources: Mapping[str, str] = field(default_factory=dict)
    """Digests of what the run is made from (`run.digests.sources`)."""
    stop: StopRequest = field(default_factory=StopRequest)
    between_steps: Callable[[WeightVersion], Awaitable[None]] = nothing
    """Awaited with the version that the actors hold: before the first step, and when a step is
    recorded, before the actors are asked for the next. Its time is not part of the step's. A
    request to stop cancels it, but not in a strict lag (`deterministic`): there it comes between
    two steps of the rollouts, whose samples the checkpoint needs."""
    is_due: Callable[[WeightVersion], bool] = always
    """Whether `between_steps` has something to do at a version: only then rollouts that run ahead
    are brought to that version first."""
    stages: StageClock = field(default_factory=StageClock)
    """Measures who waits for whom."""
    trace: TraceLog = field(default_factory=lambda: TraceLog(on=False))
    """What happened when, for `stepcoder trace`."""
    executors: ElasticPool | None = None
    """The sandbox's executors, where they can be counted."""
    last_step: LastStep | None = None
    """What was measured of the step that was recorded last."""
    book: SampleBook = field(init=False)

    def __post_init__(self) -> None:
        staleness = self.config.train.max_staleness
        self.book = SampleBook(
            capacity=self.config.learner.samples_per_step * (staleness + 1),
            max_staleness=staleness,
            samples_per_group=self.config.sampling.samples_per_problem,
            patience=Patience(self.config.train.stall_s),
            whole_groups=self.config.compares_groups,
            fills_steps=self.config.learner.flat_groups == "replace",
            program_room=self.config.prompt_room if self.curriculum.gives_own else 0,
        )

    def sizes(self) -> Sizes:
        """Return how large the pools are now."""
        sandbox = self.config.sandbox
        return Sizes(
            rollouts=max(self.sampler.width, 1),
            executors=max(self.executors.number, 1) if self.executors else sandbox.number,
            containers=sandbox.containers,
            max_staleness=self.config.train.max_staleness,
        )

    def has_work_at(self, version: WeightVersion) -> bool:
        """Return whether `between_steps` does anything at this version."""
        return self.between_steps is not nothing and self.is_due(version)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint of the last finished step holds, as plain JSON data."""
        return self.frozen()()

    def frozen(self) -> Callable[[], dict[str, Any]]:
        """Return what makes the `state` of now, whenever it is called."""
        book, curriculum = self.book.frozen(), self.curriculum.frozen()
        planner = self.planner.state_dict()
        return lambda: {
            "config": self.config.model_dump(mode="json"),
            "sources": dict(self.sources),
            "curriculum": curriculum(),
            "planner": planner,
            **book(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken; call it before the loops start."""
        self.curriculum.load_state_dict(state["curriculum"])
        self.planner.load_state_dict(state["planner"])
        self.book.restore(state)
