"""Methods by name: each is a preset of three independent choices (docs/methods.md).

    curriculum.kind      where the policy starts to write     method/start_rules.py
    credit.rule          which tokens carry policy loss       method/credit.py
    learner.advantage    what a token's advantage is          learner/advantage

A preset fills in the keys that a run file leaves out, and nothing else: learning rates, batch sizes
and sampling are the same for every method. Imports nothing, so that `config/` can.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

Method = Literal[
    "stepcoder",
    "ppo",
    "stepcoder-no-cccs",
    "stepcoder-no-fgo",
    "grpo",
    "rloo",
    "grpo-stepcoder",
]

DEFAULT: Method = "stepcoder"

CHOICES = ("curriculum.kind", "credit.rule", "learner.advantage")
"""The keys that a preset sets, in the order of the table."""

_TABLE: dict[Method, tuple[str, str, str]] = {
    "stepcoder": ("cccs", "executed", "gae"),
    "stepcoder-no-cccs": ("none", "executed", "gae"),
    "stepcoder-no-fgo": ("cccs", "all", "gae"),
    "ppo": ("none", "all", "gae"),
    "grpo": ("none", "all", "grpo"),
    "grpo-stepcoder": ("cccs", "executed", "grpo"),
    "rloo": ("none", "all", "rloo"),
}

PRESETS: dict[Method, dict[str, str]] = {
    method: dict(zip(CHOICES, values, strict=True)) for method, values in _TABLE.items()
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Advantage:
    """What a value of `learner.advantage` needs. Its rule is learner/advantage/<value>.py."""

    critic: bool = False
    """A critic is built, trained and saved."""
    groups: bool = False
    """A sample is compared with the others of its group: alone its advantage would be 0."""
    kl_in_loss: bool = False
    """The KL to the reference is a loss of its own, not part of the reward."""


ADVANTAGES: dict[str, Advantage] = {
    "gae": Advantage(critic=True),
    "grpo": Advantage(groups=True, kl_in_loss=True),
    "rloo": Advantage(groups=True),
}

if TYPE_CHECKING:
    AdvantageName = str
else:  # one list of names: what a run file may say is what the table has
    AdvantageName = Literal[tuple(ADVANTAGES)]


def preset(method: object) -> Mapping[str, str]:
    """By dotted key. Empty for what is no method: the config's own check refuses it by name."""
    known = isinstance(method, str) and method in PRESETS
    return PRESETS[cast("Method", method)] if known else {}


def filled_in(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A run file's tree with the keys that its method sets and it does not. Copies what it changes.

    A section that is no table is left as it is: the config's own check refuses it.
    """
    result = dict(tree)
    for key, value in preset(tree.get("method", DEFAULT)).items():
        section, name = key.split(".")
        table = result.get(section, {})
        if isinstance(table, dict) and name not in table:
            result[section] = {**table, name: value}
    return result


def applied_over(tree: dict[str, Any]) -> None:
    """Set every key of the tree's method in the tree, in place (`--set method=X`)."""
    for key, value in preset(tree.get("method", DEFAULT)).items():
        section, name = key.split(".")
        table = tree.setdefault(section, {})
        if isinstance(table, dict):
            table[name] = value


def in_words(method: Method, choices: Mapping[str, str]) -> str:
    """`method stepcoder, with learner.advantage = grpo instead of gae`."""
    others = [
        f"{key} = {choices[key]} instead of {value}"
        for key, value in PRESETS[method].items()
        if choices[key] != value
    ]
    if not others:
        whole = ", ".join(f"{key} = {value}" for key, value in PRESETS[method].items())
        return f"method {method}: {whole}"
    return f"method {method}, with {', '.join(others)}"
