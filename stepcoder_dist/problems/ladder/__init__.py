"""The project's own problem set, made by a seeded generator: small programs that climb in steps.

    problems("train", seed=0, count=400, conditionals=range(2, 4))
    problems.load("ladder:train?conditionals=2-3&count=400&seed=1&kinds=if,if-else&calls=0")

A problem takes one number through k conditional statements, described in a controlled English
(`language.py`). Its level depends on k. Everything about a problem follows from its program and its
split. A program belongs to one split, by its hash, so splits are disjoint for all seeds and
options. It has the same id and the same tests wherever it occurs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import parse_qsl

from stepcoder_dist.errors import ProblemError
from stepcoder_dist.host.files import atomic_file
from stepcoder_dist.problems.ladder import tokenizer as ladder_tokenizer
from stepcoder_dist.problems.ladder.inputs import draw_inputs
from stepcoder_dist.problems.ladder.language import Task
from stepcoder_dist.problems.ladder.programs import CONDITIONALS, KINDS, LEVEL_OF, programs
from stepcoder_dist.problems.ladder.slips import careless
from stepcoder_dist.problems.own_format import row_from_problem
from stepcoder_dist.records import Problem, TestSuite

PREFIX = "ladder:"

SPLITS = {"sft": 4, "train": 8, "heldout": 10}
"""The upper end of each split's share, in tenths of all programs."""
COUNTS = {"sft": 2000, "train": 400, "heldout": 200}
"""Problems in a split where the spec does not say."""
TESTS = {"sft": 6, "train": 6, "heldout": 20}
CALL_SHARE = 0.2
"""Share of problems that define `f(n)` instead of reading standard input."""

CPU_LIMIT_S = 1.0
"""CPU limit of a test: right programs take microseconds, endless ones should cost little."""
MOST = 1_000_000
"""The largest count of problems, and of tests, that a spec may ask for."""
_LEAST = {"count": 1, "tests": 1, "unreached": 0}
_TRIES = 400
"""Programs drawn for one problem before its kind is taken to be exhausted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a spec."""

    seed: int = 0
    count: int | None = None
    conditionals: range = CONDITIONALS
    kinds: tuple[str, ...] = KINDS
    calls: float = CALL_SHARE
    tests: int | None = None
    """Tests of each problem; None: the default of `TESTS`."""
    off_by_one: float = 0.0
    """Share of comparisons that the references of the sft split get wrong (`slips.py`)."""
    thorough: bool | None = None
    """Tests take every way of every conditional; None: only those of the heldout split do."""
    unreached: int = 0
    """Branches of the reference that no test reaches (`inputs.py`)."""
    slips: float = 1.0
    """Share of the reference's off-by-one slips that the tests are made to notice."""


def problems(
    split: str,
    *,
    seed: int = 0,
    count: int | None = None,
    conditionals: range = CONDITIONALS,
    kinds: Sequence[str] = KINDS,
    calls: float = CALL_SHARE,
    tests: int | None = None,
    off_by_one: float = 0.0,
    thorough: bool | None = None,
    unreached: int = 0,
    slips: float = 1.0,
) -> list[Problem]:
    """Make `count` different problems; the number of conditionals cycles through its range.

    The same arguments give the same problems, and a smaller count a prefix of them. Raises
    `ProblemError` for an unknown split or kind, or where there are fewer such programs.
    """
    options = Options(
        seed=seed,
        count=count,
        conditionals=conditionals,
        kinds=tuple(kinds),
        calls=calls,
        tests=tests,
        off_by_one=off_by_one,
        thorough=thorough,
        unreached=unreached,
        slips=slips,
    )
    return list(_generate(split, options))


def from_spec(spec: str) -> Iterator[Problem]:
    """Make the problems of `ladder:<split>[?option=value&...]`, with the options of `problems`."""
    split, _, query = spec.removeprefix(PREFIX).partition("?")
    changes: dict[str, object] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key in changes:
            raise ProblemError(f"{spec}: {key} is there twice; leave one out")
        try:
            changes[key] = _option(key, text)
        except ValueError:
            raise ProblemError(
                f"{spec}: {key}={text} makes no sense; options are seed=0, count=400, "
                f"conditionals=2-3, kinds={','.join(KINDS)}, calls=0.2, tests=6, "
                "off_by_one=0, thorough=0, unreached=0, slips=1"
            ) from None
    try:
        yield from _generate(split, dataclasses.replace(Options(), **changes))  # type: ignore[arg-type]
    except ProblemError as error:
        raise ProblemError(f"{spec}: {error}") from None


def write(folder: Path, *, seed: int = 0) -> list[Path]:
    """Write every split as `<folder>/<split>.jsonl` in the APPS+ schema; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for split in SPLITS:
        path = folder / f"{split}.jsonl"
        with atomic_file.written(path) as file:
            for problem in problems(split, seed=seed):
                file.write(json.dumps(row_from_problem(problem)) + "\n")
        written.append(path)
    return written


def write_tokenizer(folder: Path) -> int:
    """Write the ladder's tokenizer as a Hugging Face folder; return its number of tokens."""
    return ladder_tokenizer.write(folder)


def _option(key: str, text: str) -> object:
    match key:
        case "seed":
            return int(text)
        case "count" | "tests" | "unreached" if _LEAST[key] <= int(text) <= MOST:
            return int(text)
        case "conditionals":
            low, _, high = text.partition("-")
            return range(int(low), int(high or low) + 1)
        case "kinds":
            return tuple(text.split(","))
        case "thorough" if text in ("0", "1"):
            return text == "1"
        case "calls" | "off_by_one" | "slips" if 0 <= float(text) <= 1:
            return float(text)
    raise ValueError(key)


def _generate(split: str, options: Options) -> Iterator[Problem]:
    if split not in SPLITS:
        raise ProblemError(f"no split {split!r}; the splits are {', '.join(SPLITS)}")
    asked = options.conditionals  # perhaps of more numbers than the memory holds
    if not asked or asked[0] not in CONDITIONALS or asked[-1] not in CONDITIONALS:
        raise ProblemError(
            f"conditionals={_written(asked)} is not within "
            f"{CONDITIONALS[0]}-{CONDITIONALS[-1]}; choose some of them"
        )
    if not set(options.kinds) <= set(KINDS) or not set(options.kinds) - {"nested"}:
        raise ProblemError(
            f"kinds {', '.join(options.kinds)} do not make programs; choose among "
            f"{', '.join(KINDS)}, and not nested alone"
        )
    if options.off_by_one and split != "sft":
        raise ProblemError(
            f"off_by_one={options.off_by_one} is for demonstrations, the sft split; the references "
            f"of {split} have to pass their own tests"
        )
    count = options.count if options.count is not None else COUNTS[split]
    rng = random.Random(f"{split} {options.seed}")
    made: set[str] = set()
    for index in range(count):
        conditionals = options.conditionals[index % len(options.conditionals)]
        by_call = rng.random() < options.calls
        tasks = programs(rng, conditionals, options.kinds, by_call=by_call)
        drawn = ((task, _digest(task)) for task in tasks)
        fresh = (
            (task, digest)
            for task, digest in islice(drawn, _TRIES)
            if digest not in made and _split_of(digest) == split
        )
        task, digest = next(fresh, (None, ""))
        if task is None:
            raise ProblemError(
                f"there are few more than {index} programs of {conditionals} conditionals like "
                "this; lower count or widen conditionals and kinds"
            )
        made.add(digest)
        problem = _problem(task, digest, split, options)
        if options.off_by_one:
            slipped = careless(task, random.Random(f"slips {digest}"), options.off_by_one)
            problem = dataclasses.replace(problem, reference=slipped.python)
        yield problem


def _written(conditionals: range) -> str:
    return f"{conditionals.start}-{conditionals.stop - 1}"


def _digest(task: Task) -> str:
    return hashlib.blake2b(task.python.encode(), digest_size=6).hexdigest()


def _split_of(digest: str) -> str:
    tenth = int(digest, 16) % 10
    return next(split for split, end in SPLITS.items() if tenth < end)


def _problem(task: Task, digest: str, split: str, options: Options) -> Problem:
    thorough = split == "heldout" if options.thorough is None else options.thorough
    inputs = draw_inputs(
        task,
        random.Random(digest),
        options.tests or TESTS[split],
        thorough=thorough,
        unreached=options.unreached,
        slips=options.slips,
    )
    outputs = [task.run(n) for n in inputs]
    by_call = task.by_call
    return Problem(
        problem_id=f"ladder/k{task.conditionals}-{digest}",
        statement=task.english,
        reference=task.python,
        level=LEVEL_OF[task.conditionals],
        tests=TestSuite(
            inputs=tuple([n] if by_call else f"{n}\n" for n in inputs),
            outputs=tuple(n if by_call else f"{n}\n" for n in outputs),
            fn_name="f" if by_call else None,
            entry_point="f" if by_call else None,
            cpu_limit_s=CPU_LIMIT_S,
        ),
    )
