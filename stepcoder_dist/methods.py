"""Methods and rules by name: each method is a preset of independent choices (docs/methods.md).

    curriculum.kind      where the policy starts to write     method/start_rules
    credit.rule          which tokens carry policy loss       method/credit_rules
    reward.kind          what a verdict is worth              method/reward_rules
    learner.advantage    what a token's advantage is          learner/advantage
    learner.loss         what ratio and advantage are worth   learner/loss/surrogates.py
    learner.normaliser   what the sum is divided by           learner/loss/normaliser.py
    learner.correction   the gap between sampler and learner  learner/loss/correction.py
    learner.kl_in        where the KL to the reference is     learner/loss/kl.py
    learner.selection    samples that carry no policy loss    learner/selection.py
    learner.flat_groups  groups that scored alike             loop/filling/flat_groups.py

A preset fills in the keys that a run file leaves out, and nothing else: learning rates, batch sizes
and sampling are the same for every method. Imports nothing, so that `config/` can.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    "dapo",
    "gspo",
    "dr_grpo",
    "cispo",
    "reinforce_pp",
]

DEFAULT: Method = "stepcoder"

USUAL = {
    "curriculum.kind": "cccs",
    "credit.rule": "executed",
    "learner.advantage": "gae",
    "learner.loss": "ppo",
    "learner.normaliser": "kept_tokens",
    "learner.kl_in": "auto",
    "learner.selection": "all",
    "learner.flat_groups": "train",
}
"""The keys that a preset sets, in the order of the table, with the values of the default method."""

CHOICES = tuple(USUAL)

_ALWAYS_NAMED = 3
"""So many of the choices are named also where they are the usual ones."""

_TABLE: dict[Method, tuple[str, str, str, dict[str, str]]] = {
    "stepcoder": ("cccs", "executed", "gae", {}),
    "stepcoder-no-cccs": ("none", "executed", "gae", {}),
    "stepcoder-no-fgo": ("cccs", "all", "gae", {}),
    "ppo": ("none", "all", "gae", {}),
    "grpo": ("none", "all", "grpo", {}),
    "grpo-stepcoder": ("cccs", "executed", "grpo", {}),
    "rloo": ("none", "all", "rloo", {}),
    "dapo": (
        "none",
        "all",
        "grpo",
        {
            "loss": "clip_higher",
            "kl_in": "none",
            "selection": "dapo",
            "flat_groups": "replace",
        },
    ),
    "gspo": ("none", "all", "grpo", {"loss": "gspo", "normaliser": "sequence"}),
    "dr_grpo": ("none", "all", "dr_grpo", {"normaliser": "constant", "kl_in": "none"}),
    "cispo": ("none", "all", "grpo", {"loss": "cispo", "kl_in": "none"}),
    "reinforce_pp": ("none", "all", "reinforce_pp", {}),
}

PRESETS: dict[Method, dict[str, str]] = {
    method: USUAL
    | dict(zip(CHOICES, first, strict=False))
    | {f"learner.{key}": value for key, value in others.items()}
    for method, (*first, others) in _TABLE.items()
}

ABOUT: dict[Method, str] = {
    "stepcoder": "PPO with CCCS and FGO (arXiv 2402.01391); the default",
    "stepcoder-no-cccs": "StepCoder's ablation: nothing is given (arXiv 2402.01391)",
    "stepcoder-no-fgo": "StepCoder's ablation: every token is trained (arXiv 2402.01391)",
    "ppo": "PPO with a critic (arXiv 1707.06347)",
    "grpo": "a score against its group, no critic (arXiv 2402.03300)",
    "grpo-stepcoder": "CCCS and FGO without a critic",
    "rloo": "a return against the others of its group (arXiv 2402.14740)",
    "dapo": "GRPO with a wider upper clip, no KL, over-sampling (arXiv 2503.14476)",
    "gspo": "GRPO with the ratio and the clip of a sequence (arXiv 2507.18071)",
    "dr_grpo": "GRPO without its two divisions and without KL (arXiv 2503.20783)",
    "cispo": "REINFORCE with a capped ratio as weight, no KL (arXiv 2506.13585)",
    "reinforce_pp": "returns normalised over the step, KL in the reward (arXiv 2501.03262)",
}
"""One line each, for `stepcoder methods`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a value of a key is, in one line, and what it needs."""

    about: str
    """With its source."""
    critic: bool = False
    """A critic is built, trained and saved."""
    groups: bool = False
    """A sample is compared with the others of its group: alone its advantage would be 0."""
    reference: bool = False
    """The verdict has to say how alike program and reference are."""
    kl_in: Literal["reward", "loss"] = "reward"
    """Of an advantage: where its source has the KL to the reference."""

    @property
    def needs(self) -> str:
        """`critic`, `groups`, `reference`, or nothing."""
        needs = ("critic", "groups", "reference")
        return ", ".join(name for name in needs if getattr(self, name))


START_RULES = {
    "cccs": Rule(about="a given prefix that shrinks as the problem is mastered (arXiv 2402.01391)"),
    "none": Rule(about="nothing is given"),
    "fixed": Rule(about="every problem stays at curriculum.fixed_stage: a control"),
    "on_failure": Rule(about="a prefix only while all samples fail (arXiv 2506.17211, 2506.18110)"),
    "adaback": Rule(about="as many of the reference's lines as are needed (arXiv 2506.18110)"),
    "own_prefix": Rule(about="heads of an own program that passed (arXiv 2601.18795, 2601.18779)"),
}

CREDIT_RULES = {
    "executed": Rule(about="FGO: tokens of statements that a test executed (arXiv 2402.01391)"),
    "all": Rule(about="every completion token"),
    "failing_tests": Rule(about="blames lines that only failing tests executed (Tarantula, 2005)"),
    "suspicion": Rule(about="blames lines by degrees: Ochiai's coefficient (Abreu et al. 2007)"),
    "rltf": Rule(about="every line; blames the line of an error twice (arXiv 2307.04349)"),
}

REWARDS = {
    "tiered": Rule(about="+1, -0.3, -0.6 or -1 by the worst test (arXiv 2402.01391, Eq. 3)"),
    "binary": Rule(about="1 for a full pass, else 0"),
    "pass_ratio": Rule(about="-0.3 + 1.3 times the share of tests passed (arXiv 2307.04349)"),
    "ppocoder": Rule(
        about="tiered, and likeness of syntax tree and data flow (2301.13816)", reference=True
    ),
    "verpo": Rule(about="tests weigh more, the fewer of a group pass (2601.03525)", groups=True),
}

ADVANTAGES = {
    "gae": Rule(about="a critic, GAE, whitened over the step (arXiv 1506.02438)", critic=True),
    "grpo": Rule(
        about="(score - group's mean) / group's deviation (arXiv 2402.03300)",
        groups=True,
        kl_in="loss",
    ),
    "rloo": Rule(about="return - mean return of the others (arXiv 2402.14740)", groups=True),
    "dr_grpo": Rule(
        about="score - group's mean, not divided (arXiv 2503.20783)", groups=True, kl_in="loss"
    ),
    "reinforce_pp": Rule(about="return from each token on, whitened (arXiv 2501.03262)"),
    "tempo": Rule(
        about="grpo, and credit where a group's samples part ways (arXiv 2509.18314)",
        groups=True,
        kl_in="loss",
    ),
}

LOSSES = {
    "ppo": Rule(about="min(r A, clip(r, 1 - e, 1 + e) A) (arXiv 1707.06347)"),
    "clip_higher": Rule(about="ppo with an upper side of its own, ratio_clip_high (2503.14476)"),
    "dual_clip": Rule(about="ppo, never below dual_clip times A < 0 (arXiv 1912.09729)"),
    "gspo": Rule(about="ppo with the ratio of the sequence, sequence_clip (arXiv 2507.18071)"),
    "cispo": Rule(about="min(r, 1 + ratio_clip_high) A log pi as a weight (arXiv 2506.13585)"),
}

NORMALISERS = {
    "kept_tokens": Rule(about="by all kept tokens: every token counts the same (2503.14476)"),
    "sequence": Rule(about="mean of the samples' means (arXiv 2402.03300)"),
    "constant": Rule(about="by samples times normaliser_tokens (Dr. GRPO, arXiv 2503.20783)"),
}

CORRECTIONS = {
    "none": Rule(about="1: the sampler counts as the old policy"),
    "token": Rule(about="min(old/rollout, correction_cap) a token (arXiv 1606.02647)"),
    "sequence": Rule(about="min(product of old/rollout, correction_cap) a sample"),
    "icepop": Rule(about="old/rollout, 0 outside of correction_floor and _cap (arXiv 2510.18855)"),
}

KL_PLACES = {
    "auto": Rule(about="where the advantage's source has it"),
    "reward": Rule(about="inside the reward, no gradient (arXiv 2203.02155)"),
    "loss": Rule(about="a loss of its own (arXiv 2402.03300)"),
    "none": Rule(about="nowhere: kl_beta counts as 0"),
}

KL_ESTIMATORS = {
    "auto": Rule(about="k1 in the reward, k3 as a loss"),
    "k1": Rule(about="log pi - log ref: unbiased; in the reward only"),
    "k2": Rule(about="half its square: as a loss it has the gradient of the KL (arXiv 2510.01555)"),
    "k3": Rule(about="ref/pi - log ref/pi - 1: unbiased, never negative (arXiv 2402.03300)"),
}

SELECTIONS = {
    "all": Rule(about="every sample"),
    "drop_flat": Rule(
        about="without groups whose scores are all the same (arXiv 2503.14476)", groups=True
    ),
    "drop_overlong": Rule(about="without samples cut off at max_new_tokens (arXiv 2503.14476)"),
    "dapo": Rule(about="without either (arXiv 2503.14476)", groups=True),
}

FLAT_GROUPS = {
    "train": Rule(about="a step is what was planned"),
    "replace": Rule(
        about="others are sampled until a step is full (arXiv 2503.14476)", groups=True
    ),
}

RULES: dict[str, dict[str, Rule]] = {
    "curriculum.kind": START_RULES,
    "credit.rule": CREDIT_RULES,
    "reward.kind": REWARDS,
    "learner.advantage": ADVANTAGES,
    "learner.loss": LOSSES,
    "learner.normaliser": NORMALISERS,
    "learner.correction": CORRECTIONS,
    "learner.kl_in": KL_PLACES,
    "learner.kl_estimator": KL_ESTIMATORS,
    "learner.selection": SELECTIONS,
    "learner.flat_groups": FLAT_GROUPS,
}
"""Every rule, by the key that chooses it."""

if TYPE_CHECKING:
    StartRuleName = str
    CreditRuleName = str
    RewardName = str
    AdvantageName = str
    LossName = str
    NormaliserName = str
    CorrectionName = str
    SelectionName = str
else:  # one list of names: what a run file may say is what the table has
    StartRuleName = Literal[tuple(START_RULES)]
    CreditRuleName = Literal[tuple(CREDIT_RULES)]
    RewardName = Literal[tuple(REWARDS)]
    AdvantageName = Literal[tuple(ADVANTAGES)]
    LossName = Literal[tuple(LOSSES)]
    NormaliserName = Literal[tuple(NORMALISERS)]
    CorrectionName = Literal[tuple(CORRECTIONS)]
    SelectionName = Literal[tuple(SELECTIONS)]


def preset(method: object) -> Mapping[str, str]:
    """By dotted key. Empty for what is no method: the config's own check refuses it by name."""
    known = isinstance(method, str) and method in PRESETS
    return PRESETS[cast("Method", method)] if known else {}


def filled_in(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run file's tree with the keys that its method sets and it does not.

    Copies what it changes.

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
    if others:
        return f"method {method}, with {', '.join(others)}"
    return f"method {method}: {', '.join(settings(method))}"


def settings(method: Method) -> list[str]:
    """`learner.loss = gspo`: the first three choices, and the others where they are unusual."""
    return [
        f"{key} = {value}"
        for place, (key, value) in enumerate(PRESETS[method].items())
        if place < _ALWAYS_NAMED or value != USUAL[key]
    ]


def listed() -> Iterator[str]:
    """Yield the lines of `stepcoder methods`: every preset and every rule."""
    yield "method: a preset of the choices below"
    width = max(map(len, PRESETS))
    for method in PRESETS:
        yield f"  {method:{width}}  {ABOUT[method]}"
    for key, rules in RULES.items():
        yield ""
        yield key
        width = max(map(len, rules))
        for name, rule in rules.items():
            needs = f"; needs {rule.needs}" if rule.needs else ""
            yield f"  {name:{width}}  {rule.about}{needs}"
