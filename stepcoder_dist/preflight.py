"""What a user can get wrong, read and refused before any heavy import."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from stepcoder_dist.config import RunConfig
from stepcoder_dist.curriculum import conditional_lines
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.problems import load as load_problems
from stepcoder_dist.program import PromptWriter
from stepcoder_dist.records import Problem, SftExample
from stepcoder_dist.tokenization import load_tokenizer


def load_set(config: RunConfig, spec: str, console: Console) -> list[Problem]:
    """The problems that a run file names; rows left out are printed.

    Raises `ProblemError` and `ConfigError`.
    """
    limits = config.problems
    problems = load_problems(spec, max_bad_share=limits.max_bad_share, limit=limits.limit)
    for error in problems.account.bad:
        console.print(f"left out: {error}", highlight=False)
    return list(problems)


def sft_checkpoint(config: RunConfig) -> str:
    """Where the policy starts. Raises `ConfigError` when there is nothing yet."""
    return existing(config.sft_folder, "run `stepcoder sft` on this run file first")


def existing(checkpoint: str, mend: str) -> str:
    """A checkpoint folder, or a hub name. Raises `ConfigError` for a folder without a model."""
    folder = Path(checkpoint)
    looks_local = folder.exists() or checkpoint.startswith(("/", ".", "~", "runs/"))
    if looks_local and not (folder.expanduser() / "config.json").is_file():
        raise ConfigError(f"{checkpoint}: no model there (config.json is missing); {mend}")
    return checkpoint


def prompt_writer(config: RunConfig, checkpoint: str) -> PromptWriter:
    """Raises `ConfigError` for a checkpoint without a usable tokenizer."""
    return PromptWriter(load_tokenizer(checkpoint), config.prompt)


def sft_examples(
    config: RunConfig, problems: list[Problem], writer: PromptWriter
) -> list[list[SftExample]]:
    """The examples of each SFT phase; one list where there are no phases."""
    limits = [phase.max_conditionals for phase in config.sft.phases] or [None]
    return [
        [
            writer.example(problem)
            for problem in problems
            if limit is None or len(conditional_lines(problem.reference)) <= limit
        ]
        for limit in limits
    ]
