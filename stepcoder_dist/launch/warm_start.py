"""`stepcoder sft`: the supervised warm start."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.table import Table

from stepcoder_dist.config import RunConfig
from stepcoder_dist.host import model_source
from stepcoder_dist.host.console import Phase
from stepcoder_dist.host.interruption import StopRequest, run_until_done
from stepcoder_dist.launch.cluster import node_models, placement
from stepcoder_dist.launch.cluster.last_words import last_words
from stepcoder_dist.launch.cluster.ray_session import ray_session
from stepcoder_dist.launch.processes import console
from stepcoder_dist.run.preflight import (
    load_set,
    prompt_writer,
    tell_about_ray_job,
    tell_if_heldout_is_trained,
)
from stepcoder_dist.sft import (
    examples as sft_examples,
    folder as sft_folder,
    work as sft_work,
)
from stepcoder_dist.sft.examples import SftExamples
from stepcoder_dist.sft.work import SftWork
from stepcoder_dist.text import tokenizer_files


def sft(config: RunConfig, *, resume: bool = False) -> None:
    """Run `stepcoder sft`. A signal ends it with a checkpoint that `resume` continues from."""
    stop = StopRequest()
    with sft_folder.writing(config):
        base, examples = warm_start_from(config, resume=resume)
        tell_about_ray_job(config, console)
        with ray_session(config, pools=False):
            run_until_done(warm_start(config, base, examples, stop=stop, resume=resume), stop)
    console.print(f"checkpoint: {config.sft_folder}", highlight=False)


def warm_start_from(config: RunConfig, *, resume: bool = False) -> tuple[str, SftExamples]:
    """Return the base checkpoint and the examples. Raises `ConfigError` and `ProblemError`."""
    if resume:
        sft_work.refuse_without_checkpoint(config)
    else:
        sft_work.refuse_unfinished(config)
    problems = load_set(config, config.problems.of_warm_start, console)
    base = base_checkpoint(config)
    writer = prompt_writer(config, base)
    tokenizer_files.check(base)
    phases = sft_examples.phases(config, problems, writer, console)
    if not config.sft.heldout_samples:
        return base, SftExamples(phases=phases)
    source = config.problems.sft_heldout or config.problems.heldout
    measured = load_set(config, source, console)
    if not config.problems.sft_heldout:
        key = "problems.sft" if config.problems.sft else "problems.train"
        tell_if_heldout_is_trained(key, problems, measured, console)
    heldout = sft_examples.heldout(config, measured, writer, console, phases)
    console.print(
        f"held-out loss: {len(heldout)} references of {source}, never trained on"
        + ("" if config.problems.sft_heldout else " (the set that `stepcoder eval` uses)"),
        highlight=False,
    )
    return base, SftExamples(phases=phases, heldout=heldout, heldout_source=source)


async def warm_start(
    config: RunConfig,
    base: str,
    examples: SftExamples,
    *,
    stop: StopRequest | None = None,
    resume: bool = False,
) -> None:
    """Fine-tune on the reference solutions, into `config.sft_folder`.

    Raises `Interrupted` after a checkpoint, where `stop` is given and asks for it.
    """
    from learner.warm_start import sft as learner_sft

    def on_progress(progress: learner_sft.SftProgress) -> None:
        last, heldout = progress.last, progress.heldout_loss
        measured = "" if heldout is None else f"  held-out {heldout:.3f}"
        phase.advance(f"loss {last.loss:.3f}{measured}  {last.tokens_per_s:,.0f} tokens/s")

    def announce(signal: str) -> None:
        console.print(
            f"{signal}: stopping with a checkpoint after the updates in progress; a second signal "
            "stops at once without",
            highlight=False,
        )

    if config.model.tiny is None:  # a tiny one is made by the ranks
        await node_models.check(config, base)
    with closing(SftWork(config, examples)) as work:
        if resume:
            work.resume()
        else:
            work.begin()
        # in the bundles of the learner's ranks: outside of them there may be no room
        ranks = partial(placement.of_rank, config)
        run = learner_sft.WarmStart(
            config, examples, base, work, on_progress, stop, placement=ranks, last_words=last_words
        )
        heeding = stop.heed(announce) if stop else nullcontext()
        with Phase(console, "SFT", run.total - work.updates) as phase, heeding:
            report = await run.run(Path(config.sft_folder).resolve())
    if examples.heldout:
        console.print(loss_table(report.rows))


def loss_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return a table of training loss (mean of the updates since the row above) and held-out loss.

    Losses are in nats a token; `rows` are those of metrics.jsonl.
    """
    table = Table(title="loss, nats a token")
    for column in ("update", "training", "held-out"):
        table.add_column(column, justify="right")
    since: list[float] = []
    for row in rows:
        since += [row["loss"]] if "loss" in row else []
        if "heldout_loss" in row:
            trained = f"{fmean(since):.4f}" if since else "–"
            table.add_row(str(row["step"]), trained, f"{row['heldout_loss']:.4f}")
            since = []
    return table


def base_checkpoint(config: RunConfig) -> str:
    """Return what SFT starts from. A tiny model gets its tokenizer here, weights from a rank."""
    if config.model.tiny is None:
        return model_source.find(config.model.path).checked("fix model.path").text
    from stepcoder_dist.problems import ladder

    base = Path(f"{config.sft_folder}-base").resolve()
    ladder.write_tokenizer(base)
    return str(base)
