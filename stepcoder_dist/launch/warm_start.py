"""`stepcoder sft`: the supervised warm start."""

from __future__ import annotations

from pathlib import Path

from stepcoder_dist import sft_folder
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.interruption import run_until_done
from stepcoder_dist.launch.processes import console
from stepcoder_dist.preflight import (
    existing,
    load_set,
    prompt_writer,
    sft_examples,
    tell_about_ray_job,
)
from stepcoder_dist.progress import Phase
from stepcoder_dist.ray_session import ray_session
from stepcoder_dist.records import SftExample


def sft(config: RunConfig) -> None:
    """`stepcoder sft`."""
    with sft_folder.writing(config):
        base, phases = warm_start_from(config)
        tell_about_ray_job(config, console)
        with ray_session(config, pools=False):
            run_until_done(warm_start(config, base, phases))
    console.print(f"checkpoint: {config.sft_folder}", highlight=False)


def warm_start_from(config: RunConfig) -> tuple[str, list[list[SftExample]]]:
    """The base checkpoint and each phase's examples. Raises `ConfigError` and `ProblemError`."""
    if config.sft_folder == config.model.path:
        raise ConfigError(
            f"SFT would replace its base {config.model.path}; set model.sft_path to a new folder"
        )
    problems = load_set(config, config.problems.sft or config.problems.train, console)
    base = base_checkpoint(config)
    return base, sft_examples(config, problems, prompt_writer(config, base))


async def warm_start(config: RunConfig, base: str, phases: list[list[SftExample]]) -> None:
    """Supervised fine-tuning on the reference solutions, into `config.sft_folder`."""
    from learner import sft as learner_sft

    legs = learner_sft.plan(config.sft, [len(examples) for examples in phases], config.seed)
    with Phase(console, "SFT", sum(leg.steps for leg in legs)) as phase:

        def on_step(progress: learner_sft.SftProgress) -> None:
            last = progress.last
            phase.advance(f"loss {last.loss:.3f}  {last.tokens_per_s:,.0f} tokens/s")

        out = Path(config.sft_folder).resolve()
        await learner_sft.run_sft(config, phases, out, base, on_step)


def base_checkpoint(config: RunConfig) -> str:
    """What SFT starts from; the tiny model is made when it is asked for."""
    if config.model.tiny is None:
        return existing(config.model.path, "mend model.path")
    from learner import tiny_model
    from stepcoder_dist import ladder

    base = Path(f"{config.sft_folder}-base").resolve()
    ladder.write_tokenizer(base)
    tiny_model.create(config.model.tiny, base, base, seed=config.seed, dtype=config.model.dtype)
    return str(base)
