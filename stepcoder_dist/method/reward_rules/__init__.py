"""The rules for what a verdict is worth: one file for each value of `reward.kind`.

    tiered.py, binary.py, pass_ratio.py    by the verdict alone
    ppocoder.py                            by the program's likeness to the reference too
    verpo.py                               by those of the group's other samples too

A rule is a pure function of verdicts and ignores coverage, which a program can forge. One that
needs the samples of a group (`methods.REWARDS` says so) has a second function: `reward` scores a
verdict before the others are known, `of_group` a group's, before it is trained.

To add a rule `x`: a file x.py here with its function `reward`, a line in `methods.REWARDS`, and a
worked example in tests/unit/method.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Protocol

from stepcoder_dist import methods
from stepcoder_dist.records import Verdict


class RewardRule(Protocol):
    """The module of a rule."""

    def reward(self, verdict: Verdict) -> float: ...


class GroupRewardRule(RewardRule, Protocol):
    """The module of a rule that compares the samples of a group."""

    def of_group(self, verdicts: Sequence[Verdict]) -> list[float]: ...


def rule(name: str) -> RewardRule:
    """Return the file that is named as the value of `reward.kind`.

    Raises `KeyError` for a name that `methods.REWARDS` does not have.
    """
    if name not in methods.REWARDS:
        raise KeyError(name)
    found: RewardRule = importlib.import_module(f"{__name__}.{name}")
    return found


def group_rule(name: str) -> GroupRewardRule | None:
    """Return the rule where it compares the samples of a group, else None."""
    found: GroupRewardRule | None = rule(name) if methods.REWARDS[name].groups else None  # type: ignore[assignment]
    return found
