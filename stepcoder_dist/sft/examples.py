"""The examples that the warm start imitates, and those that its loss is measured on.

A problem without a reference is left out. So is one that is longer than the model's context, prompt
and solution together: if it were cut, it would teach programs that do not end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.host.even_choice import spread
from stepcoder_dist.method.conditionals import conditional_lines
from stepcoder_dist.records import Problem, SftExample
from stepcoder_dist.text.program import PromptWriter

_NAMED = 3
"""How many problems a printed line names; the rest is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SftExamples:
    """The tokenised examples, in the order of their sets."""

    phases: tuple[tuple[SftExample, ...], ...]
    """One tuple for each of `sft.phases`; a single one where there are none."""
    heldout: tuple[SftExample, ...] = ()
    """Never trained. Where it is empty, the held-out loss is not measured."""
    heldout_source: str = ""
    """The set that `heldout` was taken from."""


def phases(
    config: RunConfig, problems: Sequence[Problem], writer: PromptWriter, console: Console
) -> tuple[tuple[SftExample, ...], ...]:
    """Return the examples of each SFT phase; what is left out is printed.

    Raises `ConfigError` where nothing is left.
    """
    examples = _usable(config, problems, writer, console)
    if not examples:
        raise ConfigError(
            f"none of the {len(problems)} SFT problems has a reference solution that fits "
            f"model.max_tokens = {config.model.max_tokens}; check problems.sft"
        )
    limits = [phase.max_conditionals for phase in config.sft.phases] or [None]
    return tuple(
        tuple(
            example
            for problem, example in examples
            if limit is None or len(conditional_lines(problem.reference)) <= limit
        )
        for limit in limits
    )


def heldout(
    config: RunConfig,
    problems: Sequence[Problem],
    writer: PromptWriter,
    console: Console,
    trained: Sequence[Sequence[SftExample]],
) -> tuple[SftExample, ...]:
    """Return at most `sft.heldout_samples` examples, spread over the set, none of them trained.

    An example whose prompt and solution are those of a trained one is left out, and counted.
    """
    seen = {_key(example) for phase in trained for example in phase}
    usable = [example for _, example in _usable(config, problems, writer, console)]
    fresh = [example for example in usable if _key(example) not in seen]
    if len(fresh) < len(usable):
        console.print(
            f"left out of the held-out loss: {len(usable) - len(fresh)} of {len(usable)} examples "
            "that are trained on",
            highlight=False,
        )
    return tuple(spread(fresh)[: config.sft.heldout_samples])


def _usable(
    config: RunConfig, problems: Sequence[Problem], writer: PromptWriter, console: Console
) -> list[tuple[Problem, SftExample]]:
    """Return each problem that has an example that fits, with it; the others are printed."""
    limit = config.model.max_tokens
    referenced = [problem for problem in problems if problem.reference.strip()]
    examples = [(problem, writer.example(problem)) for problem in referenced]
    bare = [problem.problem_id for problem in problems if not problem.reference.strip()]
    long = [problem.problem_id for problem, example in examples if _length(example) > limit]
    for names, what in (
        (bare, "have no reference solution"),
        (long, f"have a prompt and solution above model.max_tokens = {limit} tokens"),
    ):
        if names:
            console.print(
                f"left out: {len(names)} of {len(problems)} problems {what} ({_list(names)})",
                highlight=False,
            )
    return [(problem, example) for problem, example in examples if _length(example) <= limit]


def _list(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _length(example: SftExample) -> int:
    return len(example.prompt_ids) + len(example.completion_ids)


def _key(example: SftExample) -> tuple[bytes, bytes]:
    return example.prompt_ids.tobytes(), example.completion_ids.tobytes()
