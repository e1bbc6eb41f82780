"""Which tokens of a completion carry policy loss, by the rule that `credit.rule` names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stepcoder_dist.config import CreditConfig
from stepcoder_dist.method import credit_rules
from stepcoder_dist.method.coverage_mask import token_mask, token_weights
from stepcoder_dist.method.credit_rules.credited_lines import CreditedLines
from stepcoder_dist.records import BoolArray, Completion, Float32Array, Verdict


@dataclass(frozen=True, slots=True)
class CreditedTokens:
    """Two masks over the sampled tokens, bool [T] each, and the lines that they were made from."""

    rewarded: BoolArray
    blamed: BoolArray
    lines: CreditedLines | None
    """None means that every token carries loss."""
    reward_weights: Float32Array | None = None
    """float32 [T]: what a rewarded token's loss is multiplied by; None: 1."""
    blame_weights: Float32Array | None = None
    """The same of a blamed token's."""


def credited_lines(verdict: Verdict, config: CreditConfig) -> CreditedLines | None:
    """Apply the configured rule to a verdict; None means that every token carries loss.

    It is None under the rule `all`, for a program that does not compile (nothing ran: an all-false
    mask would lose its reward of −1), and for one whose coverage cannot be trusted.
    """
    every = config.rule == credit_rules.WITHOUT_LINES
    if every or verdict.structure is None or not verdict.coverage_trusted:
        return None
    return credit_rules.rule(config.rule)(verdict.structure, verdict.tests, config.comments)


def credited_tokens(
    completion: Completion, verdict: Verdict, config: CreditConfig
) -> CreditedTokens:
    """Return the two masks of a completion's tokens; one array where the lines are the same."""
    lines = credited_lines(verdict, config)
    if lines is None:
        every = np.ones(len(completion.token_ids), dtype=np.bool_)
        return CreditedTokens(every, every, lines)
    keep_prose = config.prose == "keep"
    at = completion.token_lines
    blamed = rewarded = token_mask(at, lines.rewarded, keep_prose=keep_prose)
    if lines.blamed != lines.rewarded:
        blamed = token_mask(at, lines.blamed, keep_prose=keep_prose)
    return CreditedTokens(
        rewarded,
        blamed,
        lines,
        token_weights(at, lines.reward_weights),
        token_weights(at, lines.blame_weights),
    )
