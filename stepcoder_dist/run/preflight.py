"""The checks of what a user can get wrong, made before any heavy import."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from stepcoder_dist.config import CurriculumConfig, RunConfig
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.evaluation.weak_tests import missing
from stepcoder_dist.host import model_source
from stepcoder_dist.method.curriculum import Curriculum
from stepcoder_dist.paths import VARIABLE, in_ray_job, runs_root
from stepcoder_dist.problems import load as load_problems
from stepcoder_dist.records import Problem
from stepcoder_dist.text import chat_template
from stepcoder_dist.text.program import PromptWriter
from stepcoder_dist.text.tokenization import load_tokenizer, tokenizer_folder

JOB_STOP_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"
"""Seconds that `ray job stop` gives a job between SIGTERM and SIGKILL."""


def load_set(config: RunConfig, spec: str, console: Console) -> list[Problem]:
    """Load the problems that a run file names; rows that are left out are printed.

    Raises `ProblemError` and `ConfigError`.
    """
    limits = config.problems
    problems = load_problems(spec, max_bad_share=limits.max_bad_share, limit=limits.limit)
    for error in problems.account.bad:
        console.print(f"left out: {error}", highlight=False)
    return list(problems)


def fitting(
    config: RunConfig, problems: list[Problem], writer: PromptWriter, console: Console
) -> list[Problem]:
    """Return the problems whose longest prompt, given code included, leaves room for a completion.

    The room is `sampling.max_new_tokens`. The others are counted in a printed line. Raises
    `ConfigError` when none is left.
    """
    room = config.prompt_room
    curriculum = Curriculum(config.curriculum, problems)
    starts = [curriculum.longest_start(problem.problem_id) for problem in problems]
    lengths = {
        problem.problem_id: len(writer.encode(problem, start)[0])
        for problem, start in zip(problems, starts, strict=True)
    }
    fit = [problem for problem in problems if lengths[problem.problem_id] <= room]
    if len(fit) < len(problems):
        longest = max(lengths, key=lambda name: lengths[name])
        message = (
            f"{len(problems) - len(fit)} of {len(problems)} problems have prompts above "
            f"model.max_tokens - sampling.max_new_tokens = {room} tokens "
            f"(longest: {longest}, {lengths[longest]})"
        )
        if not fit:
            raise ConfigError(f"{message}; raise model.max_tokens")
        console.print(f"left out: {message}", highlight=False)
    return fit


def without_given_code(config: RunConfig) -> RunConfig:
    """Return the config as evaluation sees it: the policy writes complete programs."""
    return config.model_copy(update={"curriculum": CurriculumConfig(kind="none")})


def load_weak_tests(config: RunConfig, heldout: list[Problem], console: Console) -> list[Problem]:
    """Load `problems.heldout_weak`; nothing where it is not set or nothing is evaluated by it.

    Raises `ConfigError` where one of the held-out problems is not among them.
    """
    spec = config.problems.heldout_weak
    if not spec or not config.evaluation.every:
        return []
    weak = load_set(config, spec, console)
    if name := missing(heldout, weak):
        raise ConfigError(
            f"problems.heldout_weak has no problem {name}, which problems.heldout has; give the "
            "same problems with other tests"
        )
    return weak


def tell_about_ray_job(config: RunConfig, console: Console) -> None:
    """Print where a run of `ray job submit` is kept, and what will be lost."""
    if not in_ray_job():
        return
    if not config.run_dir:
        console.print(f"runs are kept in {runs_root()} ({VARIABLE})", highlight=False)
    for key, path in (("run_dir", config.run_dir), ("model.sft_path", config.model.sft_path)):
        uploaded = key == "model.sft_path" and model_source.holds_model(path)
        if path and not Path(path).is_absolute() and not uploaded:
            console.print(
                f"warning: {key} = {path} lies in the job's working folder, which is removed with "
                "the cluster; give an absolute path",
                highlight=False,
            )
    if JOB_STOP_WAIT not in os.environ:
        console.print(
            f"warning: `ray job stop` kills after 3 s; submit with --runtime-env-json "
            f'\'{{"env_vars": {{"{JOB_STOP_WAIT}": "120"}}}}\' for a checkpoint of its last step',
            highlight=False,
        )


def tell_if_the_policy_stands_still(config: RunConfig, console: Console) -> None:
    """Warn where the critic's warm-up leaves no step for the policy."""
    alone = config.learner.critic_warmup_steps if config.learner.has_critic else 0
    if alone >= config.train.steps:
        console.print(
            f"warning: learner.critic_warmup_steps = {alone} of train.steps = "
            f"{config.train.steps}: the policy is not trained; lower the one or raise the other",
            highlight=False,
        )


def tell_if_heldout_is_trained(
    key: str, trained: Iterable[Problem], heldout: Sequence[Problem], console: Console
) -> None:
    """Warn where held-out problems have the statement of one in the set of `key`.

    It compares statements: two files can give one problem different ids, or two problems one id.
    """
    seen = {" ".join(problem.statement.split()) for problem in trained}
    both = [each.problem_id for each in heldout if " ".join(each.statement.split()) in seen]
    if both:
        console.print(
            f"warning: {len(both)} of {len(heldout)} problems of problems.heldout ask the same as "
            f"one of {key} (the first: {both[0]}); on them evaluations measure what was trained",
            highlight=False,
        )


def needs_warm_start(config: RunConfig) -> bool:
    """Return whether the model is a tiny one whose SFT checkpoint this run has to make first."""
    made_here = config.model.tiny is not None and not config.model.sft_path
    return made_here and not model_source.holds_model(config.sft_folder)


def sft_checkpoint(config: RunConfig) -> str:
    """Return the checkpoint that the policy starts from. Raises `ConfigError` without one."""
    fix = "run `stepcoder sft` on this run file first"
    return model_source.find(config.sft_folder).checked(fix).text


def prompt_writer(config: RunConfig, checkpoint: str) -> PromptWriter:
    """Make the writer of the run's prompts.

    Raises `ConfigError` for a checkpoint without a usable tokenizer or chat template.
    """
    tokenizer, frame = load_tokenizer(checkpoint), None
    if config.prompt.style == "chat":
        frame = chat_template.frame(tokenizer_folder(checkpoint), config.prompt.system)
    return PromptWriter(tokenizer, config.prompt, frame)
