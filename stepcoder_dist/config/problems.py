"""`[problems]` and `[prompt]`: the problems that are asked, and the words of a prompt."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import model_validator

from stepcoder_dist.config.counts import EVALUATION, NO, NOTHING, SFT, Counts
from stepcoder_dist.config.section import Positive, Section, Share, WrittenPath


class ProblemsConfig(Section):
    # a warm start may read it too, and remembers it as its `sft` (sft/work.py)
    train: Annotated[WrittenPath, Counts(sft=NO, evaluation=NO, every_arm=True)]
    """A file or folder in any known format (docs/data.md), `hf://datasets/OWNER/NAME`, or
    `ladder:<split>` for the shipped set (splits: sft, train, heldout)."""
    heldout: Annotated[WrittenPath, EVALUATION]
    """Problems that evaluations ask, never trained."""
    heldout_weak: Annotated[WrittenPath, NOTHING] = ""  # judges the same programs once more
    """The same problems with tests like those of `train`: evaluations during training then report
    by how much a reward would overrate the policy (docs/evaluation.md). Empty: they do not."""
    sft: Annotated[WrittenPath, SFT] = ""
    """Problems for the warm start; empty: `train`."""
    sft_heldout: Annotated[WrittenPath, NOTHING] = ""  # measured, never trained
    """Problems on whose references the warm start's loss is measured, never trained; empty:
    `heldout`, the set that evaluations use."""
    max_bad_share: Annotated[Share, NOTHING] = 0.0  # refuses a file, or reads the same rows
    """Share of unusable rows that is tolerated (each is counted and named in the log)."""
    limit: Positive | None = None
    """Use the first N problems only."""

    @property
    def named(self) -> dict[str, str]:
        """Every set that the run file names, by dotted key."""
        names = ("train", "heldout", "heldout_weak", "sft", "sft_heldout")
        sets = {name: getattr(self, name) for name in names}
        return {f"problems.{name}": spec for name, spec in sets.items() if spec}

    @property
    def of_warm_start(self) -> str:
        """The set whose references a warm start learns."""
        return self.sft or self.train


class PromptConfig(Section):
    """The text that the policy reads; the opening code fence follows (docs/evaluation.md)."""

    style: Literal["plain", "deepseek-instruct", "chat"] = "plain"
    """What is written around the task: nothing, the paper's instruction format, or what the
    checkpoint's own chat template makes of it."""
    task: Literal[
        "statement", "humaneval", "humaneval-completion", "mbpp", "evalplus", "livecodebench"
    ] = "statement"
    """The words of a problem: its statement and starter code, or the usual prompt of the set. With
    `humaneval-completion` the statement is code after the fence, to be continued."""
    template: str = ""
    """Your own words instead of `task`'s, with `{statement}` and `{starter_code}`."""
    system: str = ""
    """System message of a chat; empty: what the chat template has."""

    @model_validator(mode="after")
    def _has_statement(self) -> PromptConfig:
        if self.template and "{statement}" not in self.template:
            raise ValueError(
                f"template = {self.template!r} lacks {{statement}}; put it where the task belongs"
            )
        if self.template and self.task != "statement":
            raise ValueError(
                f"task = {self.task!r} and a template are two wordings; leave out one "
                "(--set prompt.template=)"
            )
        if self.system and self.style != "chat":
            raise ValueError(
                f'system = {self.system!r} is of a chat, and style = "{self.style}"; '
                'set style = "chat" or leave it out'
            )
        return self
