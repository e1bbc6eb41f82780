"""`[actors]` and `[sandbox]`: the two pools, and what Ray reserves for a process."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from stepcoder_dist.config.counts import BITS, NO, NOTHING, TRAIN_AND_EVALUATION, Counts
from stepcoder_dist.config.section import NonNegativeFloat, Positive, PositiveFloat, Section
from stepcoder_dist.records import Limits

Backend = Literal["docker", "bubblewrap", "attached", "process"]
"""What may judge programs: warm containers, namespaces that bubblewrap makes, guests that somebody
else started, or plain processes of this machine, which are no security boundary.
`sandbox/backend.py` makes each, and says how to add one."""

MOST_CONTAINERS = 1024
"""Of one process. More than any machine has use for; a mistyped number would take its memory."""
_FEWEST_DIGITS = 640
"""The least limit on the digits of integers that Python takes."""


def splits_over(heads: int, kv_heads: int, parallel: int) -> bool:
    """Return whether vLLM can split attention over so many GPUs.

    It repeats key-value heads that are fewer.
    """
    return heads % parallel == 0 and (kv_heads % parallel == 0 or parallel % kv_heads == 0)


class ProcessResources(Section):
    """What Ray reserves for each process of a pool."""

    counts: ClassVar[Counts] = NOTHING

    num_cpus: NonNegativeFloat = 1
    num_gpus: NonNegativeFloat = 0
    custom: dict[str, PositiveFloat] = Field(default_factory=dict)
    """Custom Ray resources, to pin a pool to some nodes: `{ sandbox_node = 0.1 }`."""

    @property
    def reserved(self) -> dict[str, Any]:
        """The options of a Ray actor that reserve them."""
        return {
            "num_cpus": self.num_cpus,
            "num_gpus": self.num_gpus,
            "resources": dict(self.custom),
        }


class Elastic(Section):
    """How far a pool may be resized while a run lives, and whether it does so by itself."""

    number: Positive = 1
    min: Annotated[Positive, NOTHING] = 1
    """`stepcoder scale` and `autoscale` leave at least so many."""
    max: Annotated[Positive | None, NOTHING] = None
    """They make it at most so many. Unset: `scale` has no bound but the cluster. A run with a Ray
    of its own has room for so many."""
    autoscale: Annotated[bool, NOTHING] = False
    """Resize the pool by itself, between `min` and `max` (docs/cluster.md): it grows while
    programs wait for containers and engines for them, and shrinks while containers are idle."""

    silence_s: Annotated[PositiveFloat, NOTHING] = 90
    """Seconds after which a process of the pool that lives and answers nothing counts as hung: it
    is ended and replaced, and what it had is done by another. One that is slow answers between two
    steps of its engine; raise it where one step takes longer. Below `weights.deadline_s`, a hung
    actor does not fail a push."""

    @property
    def most(self) -> int:
        """How many the pool may have, as far as the run file says so."""
        return self.max or self.number

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        if self.autoscale and self.max is None:
            raise ValueError("autoscale = true needs max: how far the pool may grow")
        if not self.min <= self.number <= self.most:
            bounds = f"min = {self.min}" + ("" if self.max is None else f" and max = {self.max}")
            raise ValueError(
                f"number = {self.number} is not within {bounds}; the pool starts with number"
            )
        return self


class ActorsConfig(Elastic):
    """The rollout pool."""

    # which sequences are decoded together decides in which order vLLM sums
    counts: ClassVar[Counts] = Counts(train=BITS, sft=NO, evaluation=BITS)

    autoscale: Annotated[bool, Counts(train=BITS, sft=NO, evaluation=NO)] = False
    """Resize the pool by itself, between `min` and `max` (docs/cluster.md): it grows while the
    learner waits for samples, and shrinks while engines wait for the learner. Needs
    `train.max_staleness` of 1 or more."""
    resources: ProcessResources = ProcessResources()
    threads: Positive | None = None
    """CPU threads of an actor's engine; default: as many as `resources.num_cpus`, rounded down, at
    least 1. With `train.max_staleness = 0` the learner rests while actors sample: all cores over
    `number` suit then, whatever `resources` reserve."""
    tensor_parallel: Positive = 1
    kv_cache_gib: PositiveFloat = 1.0
    """Memory for vLLM's KV cache on the CPU."""
    gpu_memory_share: Annotated[float, Field(gt=0, lt=1)] = 0.9
    max_batch: Positive = 256
    """Sequences that one engine decodes together."""
    max_in_flight: Annotated[Positive | None, NOTHING] = None
    """With `train.max_staleness`: samples that one actor takes before others wait for an actor with
    room, the oldest plan first. Default: `max_batch`. With less an engine is not filled; what is
    above `max_batch` waits in the actor, and a push does not wait for it. Not used with
    `deterministic`."""
    engine_args: Annotated[dict[str, Any], Counts(train=BITS, sft=NO)] = Field(default_factory=dict)
    """Passed to vLLM's `EngineArgs` as they are, over the defaults of `actors/engine.py`:
    `{ enforce_eager = true, kv_cache_dtype = "fp8" }`. An argument that the installed vLLM does not
    know is refused when the actors start."""
    start_timeout_s: Annotated[PositiveFloat, NOTHING] = 300
    leave_timeout_s: Annotated[PositiveFloat, NOTHING] = 300
    """Seconds in which an actor that `stepcoder scale` takes away finishes what it decodes. What is
    left then is sampled elsewhere."""

    @model_validator(mode="after")
    def _gpus_fit(self) -> ActorsConfig:
        if self.resources.num_gpus > 1 and self.resources.num_gpus != self.tensor_parallel:
            raise ValueError(
                f"resources.num_gpus = {self.resources.num_gpus:g} of an actor is not "
                f"tensor_parallel = {self.tensor_parallel}; make them equal"
            )
        if self.tensor_parallel > max(self.resources.num_gpus, 1):
            raise ValueError(
                f"tensor_parallel = {self.tensor_parallel} needs that many GPUs, but "
                f"resources.num_gpus = {self.resources.num_gpus:g}; make them equal"
            )
        return self


class SandboxConfig(Elastic):
    """The pool of executors, each owning some warm containers."""

    counts: ClassVar[Counts] = TRAIN_AND_EVALUATION

    number: Annotated[Positive, NOTHING] = 1
    resources: ProcessResources = ProcessResources()
    backend: Annotated[Literal[Backend, "auto"], NOTHING] = "docker"  # one contract holds for all
    """`bubblewrap` needs no engine, `attached` takes guests that somebody else starts (`sockets`);
    docs/sandbox.md has both. `process` is no security boundary. `auto`:
    the strongest that works on the nodes: docker where an engine answers, else bubblewrap, else
    process."""
    image: Annotated[str, NOTHING] = "stepcoder-sandbox:latest"
    """Any image with Python 3.12 or newer as `python3`: nothing of ours is in it."""
    runtime: Annotated[str | None, NOTHING] = None
    """For docker: the engine's runtime for the containers, as it knows it by name (`"runsc"`:
    gVisor, a kernel of its own). Unset: the engine's default."""
    packages: Annotated[tuple[str, ...], NOTHING] = ()
    """Modules that programs may import beyond the standard library (`["numpy"]`): `doctor` checks
    that the image has them."""
    root: Annotated[str | None, NOTHING] = None
    """For bubblewrap: a folder with the root file system that programs see; docs/sandbox.md says
    how to make one of an image. Unset: this machine's `/usr` and Python, read-only."""
    sockets: Annotated[str | None, NOTHING] = None
    """For attached: a pattern of the sockets on which guests listen, each in a folder of its own
    (`"/guests/*/guest.sock"`). `containers` of them are taken by each executor."""
    containers: Annotated[int, Field(gt=0, le=MOST_CONTAINERS), NOTHING] = 2
    """Warm containers of one executor, 1,024 at most."""
    cpu_limit_s: PositiveFloat = 4.0
    wall_limit_s: PositiveFloat = 10.0
    program_limit_s: PositiveFloat | None = None
    """Processor seconds that a program's failing tests may take together; a test that timed out
    counts as `cpu_limit_s`. Tests that are left then are not run and count as timed out. Default:
    twice `cpu_limit_s`. A program whose tests pass is never cut off."""
    memory_limit_mib: Positive = 512
    output_limit_mib: Positive = 16
    processes: Positive = 32
    attempts: Annotated[Positive, NOTHING] = 3
    """How often a program is tried when the sandbox itself fails."""
    coverage: bool = True
    """False: executed lines are not recorded, so there is no coverage mask and no
    coverage in an evaluation's table."""
    hash_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Python's `PYTHONHASHSEED` for the programs: fixed, so that a verdict can be repeated."""
    int_digits: Annotated[int, Field(ge=0)] = 1_000_000
    """Digits of an integer that programs may print and read, 640 or more; 0: any number. Python's
    own limit is 4300, which solutions from before it do not know."""
    quarantine_after: Annotated[Positive, NOTHING] = 8
    """Samples of one problem in a row without a verdict after which nothing more is sampled of it:
    another problem takes its place until the run is resumed, and the log names it."""
    group_losses: Annotated[Positive, NOTHING] = 8
    """Samples of one group without a verdict after which nothing more is sampled of it: the group
    is dropped whole, and one of another problem takes its place. Where a rule compares the samples
    of a group; elsewhere samples are replaced one at a time."""
    engine_wait_s: Annotated[PositiveFloat, NOTHING] = 120.0
    """How long to wait for a container engine that was there and is away, before programs fail."""
    engine_answer_s: Annotated[PositiveFloat, NOTHING] = 60.0
    """How long the container engine may take for one answer. One that takes connections and says
    nothing counts as away after that."""
    start_timeout_s: Annotated[PositiveFloat, NOTHING] = 300
    """Seconds in which an executor is placed by Ray and starts its containers."""
    leave_timeout_s: Annotated[PositiveFloat, NOTHING] = 300
    """Seconds in which an executor that `stepcoder scale` takes away finishes its programs. What is
    left then is judged elsewhere."""

    @model_validator(mode="after")
    def _wall_is_a_backstop(self) -> SandboxConfig:
        if self.wall_limit_s < self.cpu_limit_s:
            raise ValueError(
                f"wall_limit_s = {self.wall_limit_s} is below cpu_limit_s = {self.cpu_limit_s}; "
                "raise it: wall time is the back-stop"
            )
        return self

    @model_validator(mode="after")
    def _python_takes_the_digits(self) -> SandboxConfig:
        if 0 < self.int_digits < _FEWEST_DIGITS:
            raise ValueError(
                f"int_digits = {self.int_digits}; Python takes {_FEWEST_DIGITS} or more, or 0 for "
                "no limit"
            )
        return self

    @property
    def limits(self) -> Limits:
        return Limits(
            cpu_s=self.cpu_limit_s,
            wall_s=self.wall_limit_s,
            program_s=self.program_limit_s,
            memory_bytes=self.memory_limit_mib * 2**20,
            output_bytes=self.output_limit_mib * 2**20,
            processes=self.processes,
            coverage=self.coverage,
        )
