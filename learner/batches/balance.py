"""Which samples share a packed row: few rows, of equal work, a group cut only where it must be.

A row's tokens are bounded by memory. Its work is what ranks wait for: ranks that have the same
number of rows, of equal work in each round, never wait for each other. Pure Python: every rank
computes the same plan.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from learner.batches.batching import Indices, TokenPair

Batch = Sequence[TokenPair] | Mapping[int, TokenPair]
UNEVEN = 0.02
"""The part of the time that ranks may wait before a plan with one round more is looked at."""
SMALLEST_GAIN = 1e-3
"""Of a row's work: balancing stops where no move gains more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a row costs, in units of one token's products with the layers' weights."""

    pair: float = 0.0
    """One query with one key."""
    answer: float = 0.0
    """One predicted token's products with the output layer."""

    @classmethod
    def of(cls, config: Any, *, head: bool = True) -> Work:
        """Return the work of a Hugging Face model (Kaplan et al. 2020, arXiv 2001.08361, 2.1).

        `head` False: of its backbone alone. A config without the usual names counts tokens only.
        """
        names = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers")
        sizes = [getattr(config, name, None) for name in names]
        hidden, width, heads, layers = (n if isinstance(n, int) else 0 for n in sizes)
        if not hidden * width * heads * layers:
            return cls()
        head_size = getattr(config, "head_dim", None) or hidden // heads
        kv_heads = getattr(config, "num_key_value_heads", None) or heads
        layer = 2 * hidden * head_size * (heads + kv_heads) + 3 * hidden * width
        return cls(
            # the products with keys and with values
            pair=2 * heads * head_size / layer,
            answer=hidden * config.vocab_size / (layers * layer) if head else 0.0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What one row may hold. A sample that is longer has a row of its own."""

    tokens: int
    """Packed: a shared prefix counts once."""
    samples: int | None = None


class _Costs:
    """What each sample and each prompt adds to a row: tokens and work."""

    def __init__(self, samples: Indices, batch: Batch, unit: Work) -> None:
        self.prompt: dict[int, bytes] = {}
        """The prompt of each sample."""
        self.of_prompt: dict[bytes, tuple[int, float]] = {}
        self.of_sample: dict[int, tuple[int, float]] = {}
        for sample in samples:
            ids, new = batch[sample].prompt_ids, len(batch[sample].completion_ids)
            prompt, given = ids.tobytes(), len(ids)
            self.prompt[sample] = prompt
            self.of_prompt[prompt] = given, given + unit.pair * given**2 / 2
            pairs = new * (given + new / 2)
            self.of_sample[sample] = new, (1 + unit.answer) * new + unit.pair * pairs

    def tokens_alone(self, sample: int) -> int:
        return self.of_prompt[self.prompt[sample]][0] + self.of_sample[sample][0]


class _Row:
    """A row under construction: its samples by prompt, and what they add up to."""

    def __init__(self, costs: _Costs) -> None:
        self.groups: dict[bytes, list[int]] = {}
        self.size = 0
        self.tokens = 0
        self.work = 0.0
        self._costs = costs

    def change(self, minus: Sequence[int], plus: Sequence[int]) -> tuple[int, float]:
        """Return tokens and work that it would have without the one samples and with the others.

        Each of the two is of one prompt; they are of two different ones, or none.
        """
        costs, tokens, work = self._costs, self.tokens, self.work
        for samples, sign in ((minus, -1), (plus, 1)):
            if not samples:
                continue
            prompt = costs.prompt[samples[0]]
            remaining = len(self.groups.get(prompt, ())) - (len(samples) if sign < 0 else 0)
            parts = [costs.of_sample[sample] for sample in samples]
            if remaining == 0:
                parts.append(costs.of_prompt[prompt])
            tokens += sign * sum(part[0] for part in parts)
            work += sign * sum(part[1] for part in parts)
        return tokens, work

    def fits(self, minus: Sequence[int], plus: Sequence[int], budget: Budget) -> bool:
        if budget.samples is not None and self.size + len(plus) - len(minus) > budget.samples:
            return False
        return self.change(minus, plus)[0] <= budget.tokens

    def exchange(self, minus: Sequence[int], plus: Sequence[int]) -> None:
        self.tokens, self.work = self.change(minus, plus)
        self.size += len(plus) - len(minus)
        if minus:
            prompt = self._costs.prompt[minus[0]]
            self.groups[prompt] = [i for i in self.groups[prompt] if i not in minus]
            if not self.groups[prompt]:
                del self.groups[prompt]
        if plus:
            self.groups.setdefault(self._costs.prompt[plus[0]], []).extend(plus)

    def shares_a_prompt(self, some: Sequence[int], others: Sequence[int]) -> bool:
        return self._costs.prompt[some[0]] == self._costs.prompt[others[0]]

    def samples(self) -> Indices:
        """Return the order that keeps samples of a prompt together, and otherwise the batch's."""
        groups = sorted(sorted(group) for group in self.groups.values())
        return tuple(i for group in groups for i in group)


def deal(
    samples: Indices, batch: Batch, *, ranks: int, budget: Budget, work: Work
) -> list[list[Indices]]:
    """Return [rank][k]: the samples of each rank's k-th packed row.

    As few rows a rank as the budget allows, the same number for every rank (perhaps empty ones:
    ZeRO's collectives need every rank in every pass). The samples of one prompt are neighbours and
    stay together; they are cut where they exceed the budget, or where another rank would have less
    to do even after it computed their prompt once more. Raises `ValueError` for an index that
    stands in `samples` twice.
    """
    if len(set(samples)) < len(samples):
        raise ValueError("a sample stands in the batch twice")
    costs = _Costs(samples, batch, work)
    longest = max((costs.tokens_alone(i) for i in samples), default=1)
    budget = Budget(tokens=max(budget.tokens, longest), samples=budget.samples)
    blocks = _blocks(costs, budget)
    tokens = sum(_joined(block, costs).tokens for block in blocks)
    least = max(1, math.ceil(tokens / (ranks * budget.tokens)))
    plans = (_planned(blocks, rounds, ranks, costs, budget) for rounds in count(least))
    plan = next(p for p in plans if p is not None)
    if plan.idle > UNEVEN:  # full rows may be few and uneven: with one round more they are even
        other = next(p for p in plans if p is not None)
        plan = min(plan, other, key=lambda p: p.waited)
    rows = [row.samples() for row in plan.rows]
    return [rows[rank::ranks] for rank in range(ranks)]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Rows, in rounds of one for each rank."""

    rows: Sequence[_Row]
    waited: float
    """The work of all rounds, if every rank waits for the one with the most."""
    idle: float
    """The part of it that ranks wait."""


def _planned(
    blocks: Sequence[Sequence[int]], rounds: int, ranks: int, costs: _Costs, budget: Budget
) -> _Plan | None:
    """Return a plan of so many rounds, if there is one within the budget."""
    rows = _filled(blocks, rounds * ranks, costs, budget)
    if rows is None:
        return None
    # neighbours in this order have the most similar work, and are a round
    rows.sort(key=lambda row: -row.work)
    parts = [rows[start : start + ranks] for start in range(0, len(rows), ranks)]
    for part in parts:
        _even_out(part, budget)
    waited = sum(max(row.work for row in part) for part in parts)
    done = sum(row.work for row in rows)
    return _Plan(rows, waited, 1 - done / (ranks * waited) if waited else 0.0)


def _blocks(costs: _Costs, budget: Budget) -> list[list[int]]:
    """Return the samples of each prompt, in as few pieces as the budget allows; most work first."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for sample in sorted(costs.prompt, key=lambda i: (-costs.of_sample[i][0], i)):
        groups[costs.prompt[sample]].append(sample)
    pieces: list[_Row] = []
    for members in groups.values():
        for number in count(1):
            rows = _filled([[member] for member in members], number, costs, budget)
            if rows is not None:
                pieces += rows
                break
    pieces.sort(key=lambda row: (-row.work, row.samples()))
    return [group for row in pieces for group in row.groups.values()]


def _joined(samples: Sequence[int], costs: _Costs) -> _Row:
    row = _Row(costs)
    row.exchange((), samples)
    return row


def _filled(
    blocks: Sequence[Sequence[int]], number: int, costs: _Costs, budget: Budget
) -> list[_Row] | None:
    """Distribute the blocks, given most work first, over so many rows; None: they do not fit.

    Each goes into the row with the least work that has room (Graham 1969); where that leaves
    something over, into the first that has room (first-fit decreasing, Johnson 1973).
    """
    for first_fit in (False, True):
        rows = [_Row(costs) for _ in range(number)]
        for block in blocks:
            room = (row for row in rows if row.fits((), block, budget))
            if first_fit:
                chosen = next(room, None)
            else:
                chosen = min(room, key=lambda row: row.work, default=None)
            if chosen is None:
                break
            chosen.exchange((), block)
        else:
            return rows
    return None


def _even_out(rows: Sequence[_Row], budget: Budget) -> None:
    """Lower the most work of a row, as long as one exchange with another row does.

    It gives a group or a part of one, and takes a group of another prompt or nothing.
    """
    for _ in range(sum(row.size for row in rows) if len(rows) > 1 else 0):
        heavy = max(rows, key=lambda row: row.work)
        best, chosen = heavy.work * (1 - SMALLEST_GAIN), None
        gifts = [g[:n] for g in heavy.groups.values() for n in range(1, len(g) + 1)]
        for light in rows:
            if light is heavy:
                continue
            for gift in gifts:
                for back in ([], *light.groups.values()):
                    if back and heavy.shares_a_prompt(gift, back):
                        continue
                    result = max(heavy.change(gift, back)[1], light.change(back, gift)[1])
                    if (
                        result < best
                        and heavy.fits(gift, back, budget)
                        and light.fits(back, gift, budget)
                    ):
                        best, chosen = result, (light, gift, list(back))
        if chosen is None:
            return
        light, gift, back = chosen
        heavy.exchange(gift, back)
        light.exchange(back, gift)
