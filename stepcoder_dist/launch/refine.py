"""`stepcoder data refine`: a problem set through the stages of refining, in two sandboxes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stepcoder_dist.config import Backend
from stepcoder_dist.data.refine import outputs
from stepcoder_dist.data.refine.context_length import ContextLength
from stepcoder_dist.data.refine.majority import Majority
from stepcoder_dist.data.refine.more_tests import MoreTests
from stepcoder_dist.data.refine.reading import Fits
from stepcoder_dist.data.refine.references import ReferencePasses
from stepcoder_dist.data.refine.refine import RefineTask, refine as refine_rows, survey
from stepcoder_dist.data.refine.stages import Stage
from stepcoder_dist.errors import UserError
from stepcoder_dist.host.console import open_console
from stepcoder_dist.host.interruption import run_until_done

HASH_SEEDS = (0, 1)
"""The hash seeds of the two sandboxes: the order of a set differs between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command's options. `deciding` names those that the output depends on."""

    against: tuple[str, ...] = ()
    repair: Literal["no", "majority"] = "no"
    augment: int = 0
    near_duplicate: float = 0.85
    tokenizer: Path | None = None
    max_tokens: int | None = None
    max_bad_share: float = 0.5
    backend: Backend = "docker"
    image: str = "stepcoder-sandbox:latest"
    jobs: int = 2
    resume: bool = False

    def deciding(self) -> dict[str, Any]:
        return {
            "--repair": self.repair,
            "--augment": self.augment,
            "--near-duplicate": self.near_duplicate,
            "--tokenizer": None if self.tokenizer is None else str(self.tokenizer),
            "--max-tokens": self.max_tokens,
            "--backend": self.backend,
            "--image": self.image,
        }


def refine(source: str, out: Path, options: Options) -> None:
    """Run `stepcoder data refine`. Raises `UserError` before anything starts."""
    from sandbox.backend import choose, make_pool
    from stepcoder_dist.config import SandboxConfig

    fits = _fits(options)
    task = RefineTask(
        source=source,
        out=out,
        options=options.deciding(),
        against=options.against,
        near_duplicate=options.near_duplicate,
        max_bad_share=options.max_bad_share,
        in_flight=4 * options.jobs,
    )
    console = open_console(stderr=True)
    # a row that passes needs both sandboxes; one that fails needs only the first
    second = max(1, options.jobs // 2)
    configs = [
        SandboxConfig(
            backend=options.backend, image=options.image, containers=count, hash_seed=seed
        )
        for seed, count in zip(HASH_SEEDS, (max(1, options.jobs - second), second), strict=True)
    ]
    chosen = choose(configs[0])
    found = survey(task)

    async def command() -> None:
        async with make_pool(configs[0], chosen) as one, make_pool(configs[1], chosen) as other:
            majority = Majority(one) if options.repair == "majority" else None
            stages: list[Stage] = [ReferencePasses(one, other, majority=majority, fits=fits)]
            if options.augment:
                stages.append(MoreTests(one, other, options.augment))
            account = await refine_rows(task, found, stages, console, resume=options.resume)
        open_console().print(outputs.table(account))
        print(f"{out}: {account.kept} of {account.rows} rows; {account.report} says why")  # noqa: T201 - the command's answer

    run_until_done(command())


def _fits(options: Options) -> Fits:
    if (options.tokenizer is None) != (options.max_tokens is None):
        raise UserError("--tokenizer FOLDER and --max-tokens N go together")
    if options.tokenizer is None or options.max_tokens is None:
        return lambda _: None
    return ContextLength(options.tokenizer, options.max_tokens)
