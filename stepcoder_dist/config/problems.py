"""`[problems]` and `[prompt]`: what is asked, and in which words."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from stepcoder_dist.config.section import Positive, Section, Share, WrittenPath


class ProblemsConfig(Section):
    train: WrittenPath
    """A file (JSON list or JSONL: our schema, APPS+, MBPP, HumanEval), an APPS folder, or
    `ladder:<split>` for the shipped set (splits: sft, train, heldout)."""
    heldout: WrittenPath
    sft: WrittenPath = ""
    """Problems for the warm start; empty: `train`."""
    sft_heldout: WrittenPath = ""
    """Problems on whose references the warm start's loss is measured, never trained; empty:
    `heldout`, the set that evaluations use."""
    max_bad_share: Share = 0.0
    """Share of unusable rows that is tolerated (each is counted and named in the log)."""
    limit: Positive | None = None
    """Use the first N problems only."""


class PromptConfig(Section):
    """What the policy reads; the opening code fence follows, always (docs/evaluation.md)."""

    style: Literal["plain", "deepseek-instruct", "chat"] = "plain"
    """What stands around the task: nothing, the paper's instruction format, or what the
    checkpoint's own chat template makes of it."""
    task: Literal["statement", "humaneval", "humaneval-completion", "mbpp"] = "statement"
    """How a problem is put: its statement and starter code, or as is usual for the set; with
    `humaneval-completion` the statement is code after the fence, to go on with."""
    template: str = ""
    """Your own wording instead of `task`'s, with `{statement}` and `{starter_code}`."""
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
