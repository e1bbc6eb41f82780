"""What the processes exchange: frozen records, with the shapes of their arrays.

The order is the order of one sample's life:

    Problem ─ Ticket ─ RolloutRequest ─ Program ─ Completion ─ Verdict ─ Trajectory ─ StepReport

Index t of an array over sampled tokens always speaks of token t.
"""
# One file, though long: a reader follows one sample's life down the page.

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]
Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

WeightVersion = int
"""0 is the starting checkpoint; the learner's step n produces version n."""

LEVELS = ("introductory", "interview", "competition")


class Outcome(StrEnum):
    """What a program did on its tests, best first; a program's outcome is its tests' worst."""

    PASSED = "passed"
    WRONG_ANSWER = "wrong_answer"
    RUNTIME_ERROR = "runtime_error"
    TIMEOUT = "timeout"
    OUTPUT_LIMIT = "output_limit"
    OUT_OF_MEMORY = "out_of_memory"
    COMPILE_ERROR = "compile_error"

    @property
    def severity(self) -> int:
        """0 for PASSED, growing with how bad the outcome is."""
        return list(Outcome).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one test may use, and whether its lines are recorded, which costs a little too."""

    cpu_s: float = 4.0
    """Processor seconds of one test."""
    wall_s: float = 10.0
    """Wall-clock seconds of one test: a back-stop, held outside the child."""
    program_s: float | None = None
    """Processor seconds that the failing tests of one program may take together, at least one of
    them; None: two limits of one test."""
    memory_bytes: int = 512 * 2**20
    output_bytes: int = 16 * 2**20
    processes: int = 32
    coverage: bool = True
    """False: no test has executed lines, and coverage counts as untrusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestSuite:
    """The tests of one problem, as the sandbox needs them.

    `fn_name` None: each input is the program's standard input and each output its expected
    standard output, both text. Otherwise each input is a list of arguments and each output the
    expected return value, plain JSON data.
    """

    __test__ = False  # pytest: not a class of tests

    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    fn_name: str | None = None
    comparison: str = "tokens"
    strict_types: bool = False
    """Compare types too: a list is not a tuple and a key not its text, as asserts mean it."""
    checker: str = ""
    """A Python source that defines `check(input, expected, actual)`, instead of a comparison."""
    setup_code: str = ""
    """Runs before the program, in its globals (MBPP's `test_setup_code`)."""
    test_code: str = ""
    """An assert script that could not be turned into call tests: one test, after the others."""
    entry_point: str | None = None
    cpu_limit_s: float | None = None
    memory_limit_bytes: int | None = None
    reference: str = ""
    """A solution that the verdict compares the program with; empty: nothing is compared."""
    keep_answers: bool = False
    """Have each result hold the program's answer: to make or fix tests, not to judge."""

    def __len__(self) -> int:
        return len(self.inputs) + bool(self.test_code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem: a statement, a reference solution, tests."""

    problem_id: str
    """Ends in the source's own id: `mbpp/601`."""
    statement: str
    reference: str
    """A solution that passes every test; may be empty where a set has none."""
    level: str
    """By the source's own name; `problems/levels.py` maps it to one of `LEVELS`."""
    tests: TestSuite
    starter_code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """Fixes everything about a sample but the weights' arithmetic: the unit of the ledger."""

    sample_id: str
    """`<group>-<index in the group>`, zero-padded: sorted ids are in the order of planning."""
    group: str
    """`s<step>-<index in the step>`: one problem's samples in one step, replacements too."""
    problem_id: str
    stage: int
    seed: int
    planned_step: int
    """The learner step that this sample is meant for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RolloutRequest:
    """What a sampler is asked to continue."""

    ticket: Ticket
    prompt_ids: Int32Array
    """int32 [P]: the prompt, the opening fence and the given code."""
    given: str
    """The given code as text: the start of the program. Empty at stage 0."""
    temperature: float
    top_p: float
    max_new_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What the sandbox runs: given code and completion, joined."""

    source: str
    given_chars: int
    """`source[:given_chars]` was given, the rest was written by the policy."""
    code_chars: int
    """The first `code_chars` characters of the completion's text are code. The closing fence and
    prose follow."""
    fence_chars: tuple[int, int]
    """Half-open span of the closing fence in the completion's text; empty if there is none."""


ANSWER_END = 0
"""In `Completion.token_lines`: the token ends the answer, and carries loss wherever that is."""
PROSE = -1
"""The same: the token is after the closing fence."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Completion:
    """What one sampling of one request produced. T = number of sampled tokens, T ≥ 1."""

    sample_id: str
    """Of the request's ticket. The request itself stays with the one who asked."""
    text: str
    """The decoded tokens, without the end-of-sequence token that ended them."""
    token_ids: Int32Array
    """int32 [T], as sampled, never re-tokenised; includes the end-of-sequence token."""
    char_spans: Int32Array
    """int32 [T, 2], half-open, into `text`; tokens that print nothing share the next one's
    span; the end-of-sequence token's span is empty, at the end of `text`."""
    logprobs: Float32Array
    """float32 [T], under the weights, temperature and nucleus that sampled them."""
    program: Program
    """What the sandbox runs, of the given code and this text."""
    token_lines: Int32Array
    """int32 [T]: the 1-based line of `program.source` that the token is on, `ANSWER_END` or
    `PROSE`."""
    ended: bool
    """True: ended by an end-of-sequence token; False: cut at the length limit."""
    oldest_weights: WeightVersion
    newest_weights: WeightVersion
    actor: str = ""
    seconds: float = 0.0
    """Wall-clock seconds from the engine's acceptance to the last token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineStructure:
    """How the guest's Python reads a program, made before the program runs. N = its lines."""

    code_lines: frozenset[int]
    """1-based lines with byte code."""
    follows: tuple[tuple[int, ...], ...]
    """[N]: follows[i] holds the byte-code lines that decide over line i+1: it is kept when any
    of them was executed. Every line of a statement has the same entry."""
    comment_lines: frozenset[int]
    """Lines that hold nothing but a comment or white space, outside of any statement."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A program's answer: what it returned, as plain data, or what it printed, as text."""

    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """One test of one program."""

    __test__ = False  # pytest: not a class of tests

    outcome: Outcome
    executed_lines: frozenset[int] = frozenset()
    """Raw 1-based physical lines that fired a LINE event."""
    cpu_ms: float = 0.0
    detail: str = ""
    answer: Answer | None = None
    """Where the suite has its answers kept and the test came to one: None for a test that ended
    in anything but an answer, for a return value that is no plain data, for an assert script."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the sandbox says about one program. A fault of the sandbox is no verdict."""

    outcome: Outcome
    tests: tuple[TestResult, ...]
    """One for each test of the suite, in order; empty for a compile error."""
    structure: LineStructure | None
    """None for a program that does not compile."""
    coverage_trusted: bool
    """False: the source touches tracing machinery, so its executed lines prove nothing, or
    nothing was recorded."""
    wall_ms: float
    detail: str = ""
    """For a reader: the first failing test's last error line."""
    executor: str = field(default="", compare=False)
    """Who judged, where a pool of executors did."""
    likeness: tuple[float, float] | None = None
    """Shares of the reference's syntax tree and data flow that the program has too, where the suite
    has a `reference`; found before the program ran. None: not asked for, or it was not possible."""

    @property
    def tests_passed(self) -> int:
        return sum(t.outcome is Outcome.PASSED for t in self.tests)

    @property
    def executed_lines(self) -> frozenset[int]:
        """Union over the tests."""
        return frozenset().union(*(t.executed_lines for t in self.tests))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trajectory:
    """One sample, judged and scored: what the learner trains on. T = sampled tokens."""

    ticket: Ticket
    level: str
    prompt_ids: Int32Array
    """int32 [P], P ≥ 1: prompt, fence, given code. Never carries loss."""
    completion_ids: Int32Array
    """int32 [T]."""
    rollout_logprobs: Float32Array
    """float32 [T]."""
    keep: BoolArray
    """bool [T]: tokens that carry policy loss; where `blame` is given, those whose advantage is
    not negative."""
    reward: float
    outcome: Outcome
    temperature: float
    oldest_weights: WeightVersion
    newest_weights: WeightVersion
    judge_ms: float = 0.0
    """Wall-clock milliseconds in the sandbox, its queue included."""
    blame: BoolArray | None = None
    """bool [T]: tokens that carry it where their advantage is negative; None: `keep`."""
    truncated: bool = False
    """The completion was cut off at the length limit."""
    weights: Float32Array | None = None
    """float32 [T]: what a token's policy loss is multiplied by; where its advantage is negative,
    `blame_weights` has it. None: 1."""
    blame_weights: Float32Array | None = None
    """float32 [T]; None: 1."""

    @property
    def carriers(self) -> BoolArray:
        """bool [T]: tokens that carry policy loss under the one sign or the other."""
        return self.keep if self.blame is None else self.keep | self.blame


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SftExample:
    """One reference solution to imitate. Loss on the completion only."""

    prompt_ids: Int32Array
    """int32 [P]: the prompt and the opening fence."""
    completion_ids: Int32Array
    """int32 [T]: the solution, the closing fence, end of sequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What one learner step did."""

    version: WeightVersion
    """The weight version that the step produced."""
    skipped: bool
    """True: no token of the step was kept, nothing was changed but the version."""
    metrics: dict[str, float] = field(default_factory=dict)
    """By the names of `metrics.py`."""
    not_finite: str = ""
    """What loss or gradient was not finite, in the first update that was skipped for it."""
    untrained: tuple[int, ...] = ()
    """Places in the batch of the samples that only such updates would have trained."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeightBucket:
    """Some named tensors of one weight version, as their bytes, for one send."""

    version: WeightVersion
    names: tuple[str, ...]
    """Hugging Face parameter names."""
    dtypes: tuple[str, ...]
    """torch's names: `float32`, `bfloat16`."""
    shapes: tuple[tuple[int, ...], ...]
    tensors: tuple[npt.NDArray[np.uint8], ...]
    """uint8 [bytes of the tensor] for each of `names`, contiguous."""
    checksum: int
    """Of `tensors`, by `host/checksum.py`."""

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeightSnapshot:
    """One complete weight version, to be delivered whatever the learner does meanwhile.

    Its buckets stay in memory for as long as somebody holds it.
    """

    version: WeightVersion
    buckets: tuple[Any, ...]
    """References into Ray's object store; each is a `WeightBucket`, together the complete model."""
    probe_logprobs: tuple[float, ...]
    """Log-probs (temperature 1) of the learner's probe under these weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenUpdate:
    """What a rollout actor says when it has committed a weight version."""

    actor: str
    paused_s: float
    """Wall-clock seconds in which the update kept its engine from decoding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightProbe:
    """Log-probs of fixed tokens under one weight version: shows that weights arrived."""

    version: WeightVersion
    logprobs: tuple[float, ...]
    """Of tokens 1…n−1 of the probe, given the tokens before."""
    actor: str = ""
    """Who answered; empty from an engine without a name."""
