"""Which samples share a packed row: few rows, equal work, groups together."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from learner.batches import balance, packing
from learner.batches.balance import Budget, Work
from stepcoder_dist.records import SftExample

TOKENS_ONLY = Work()
QWEN2_HALF = SimpleNamespace(
    hidden_size=896,
    intermediate_size=4864,
    num_attention_heads=14,
    num_key_value_heads=2,
    num_hidden_layers=24,
    vocab_size=151_936,
)


def sample(prompt: int, completion: int, *, tokens: int = 4) -> SftExample:
    """A prompt of so many times the same token: equal prompts are one group."""
    return SftExample(
        prompt_ids=np.full(tokens, prompt, dtype=np.int32),
        completion_ids=np.zeros(completion, dtype=np.int32),
    )


def lone(*completions: int) -> list[SftExample]:
    """Samples of different prompts of one token."""
    return [sample(i, completion, tokens=1) for i, completion in enumerate(completions)]


def every(batch: list[SftExample]) -> tuple[int, ...]:
    return tuple(range(len(batch)))


def deal(
    batch: list[SftExample], ranks: int, tokens: int, samples: int | None = None
) -> list[list[tuple[int, ...]]]:
    budget = Budget(tokens=tokens, samples=samples)
    return balance.deal(every(batch), batch, ranks=ranks, budget=budget, work=TOKENS_ONLY)


def realistic(seed: int, problems: int = 64, group: int = 8) -> list[SftExample]:
    """APPS-like lengths: prompts of 100–1500 tokens, completions of 20–600, log-normal."""
    random = np.random.default_rng(seed)
    batch = []
    for problem in range(problems):
        prompt = int(np.clip(random.lognormal(6.2, 0.5), 100, 1500))
        centre = random.lognormal(5.0, 0.5)
        for _ in range(group):
            completion = int(np.clip(centre * random.lognormal(0, 0.35), 20, 600))
            batch.append(sample(problem, completion, tokens=prompt))
    order = random.permutation(len(batch))
    return [batch[i] for i in order]


def row_work(row: tuple[int, ...], batch: list[SftExample], work: Work) -> float:
    """A row's work from the micro-batch that is made of it."""
    micro = packing.pack(row, batch, 0)
    pairs = 0.0
    for prompt, *completions in micro.segments:
        pairs += prompt**2 / 2 + sum(n * (prompt + n / 2) for n in completions)
    return micro.input_ids.numel() + work.pair * pairs + work.answer * len(micro.token_ids)


def test_rows_are_few_and_of_like_length_and_every_rank_gets_the_same_number() -> None:
    batch = lone(8, 0, 3, 7, 1, 6, 2)
    assert deal(batch, 1, 40) == [[(0, 1, 2, 3, 4, 5, 6)]]
    # 34 tokens in rows of 10: four rows of 9, 8, 7 + 2 and 4 + 3 + 1, two for each rank
    plan = deal(batch, 2, 10)
    assert [len(rank) for rank in plan] == [2, 2]
    assert sorted(row for rank in plan for row in rank) == [(0,), (1, 2, 6), (3,), (4, 5)]


def test_what_does_not_fit_gets_another_round_and_a_long_sample_a_row_of_its_own() -> None:
    # 3 × 6 tokens fill two rows of 9 by their sum, but no two of them fit into one
    assert [len(row) for row in deal(lone(5, 5, 5), 1, 9)[0]] == [1, 1, 1]
    assert deal(lone(49, 2), 1, 10) == [[(0,), (1,)]]


def test_first_fit_decreasing_saves_a_row_where_the_least_filled_one_would_not() -> None:
    # least filled first: 5 | 4, then 3 and 3 into 4 and 5: 8 | 7, and the last 3 has no room
    assert [len(rank) for rank in deal(lone(4, 3, 2, 2, 2), 1, 9)] == [2]


def test_a_rank_without_work_gets_an_empty_row() -> None:
    assert deal(lone(4), 2, 10) == [[(0,)], [()]]
    assert deal([], 2, 10) == [[()], [()]]


def test_samples_of_a_prompt_stay_together_and_next_to_each_other() -> None:
    batch = [sample(p, 3) for p in (0, 1, 2, 0, 1, 2, 0, 1, 2)]
    # three groups of 4 + 9 tokens in rows of 27
    assert sorted(deal(batch, 1, 27)[0]) == [(0, 3, 6, 2, 5, 8), (1, 4, 7)]


def test_a_group_that_exceeds_the_row_is_cut_into_as_few_pieces_as_fit() -> None:
    batch = [sample(0, 5) for _ in range(8)]  # 4 + 40 tokens
    (rows,) = deal(batch, 1, 24)
    assert [len(row) for row in rows] == [4, 4]
    (rows,) = deal(batch, 1, 1000, samples=3)
    assert sorted(len(row) for row in rows) == [2, 3, 3]


def test_a_group_is_cut_for_a_rank_that_would_wait_although_it_computes_the_prompt_again() -> None:
    batch = [sample(0, 10) for _ in range(4)]  # 4 + 40: cut, 4 + 20 each
    assert sorted(len(rank[0]) for rank in deal(batch, 2, 1000)) == [2, 2]
    # 4 + 20 for one rank, 4 + 30 for the other: to cut the second group would make neither less
    apart = [sample(p, n) for p, n in ((0, 10), (0, 10), (1, 11), (1, 11))]
    assert sorted(rank[0] for rank in deal(apart, 2, 1000)) == [(0, 1), (2, 3)]


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("samples", [None, 5])
def test_every_sample_is_dealt_once_within_the_budget_whatever_the_ranks(
    ranks: int, samples: int | None
) -> None:
    batch = realistic(seed=3, problems=9, group=5)
    plan = deal(batch, ranks, 4096, samples)
    dealt = [i for rank in plan for row in rank for i in row]
    assert sorted(dealt) == list(every(batch))
    assert len({len(rank) for rank in plan}) == 1
    for rank in plan:
        for row in rank:
            assert packing.pack(row, batch, 0).input_ids.numel() <= 4096
            assert samples is None or len(row) <= samples


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("ranks", "tokens"), [(8, 16384), (8, 8192), (4, 32768), (16, 16384)])
def test_on_realistic_lengths_ranks_wait_less_than_2_percent_and_little_is_computed_twice(
    seed: int, ranks: int, tokens: int
) -> None:
    batch, work = realistic(seed), Work.of(QWEN2_HALF)
    plan = balance.deal(every(batch), batch, ranks=ranks, budget=Budget(tokens=tokens), work=work)
    works = np.array([[row_work(row, batch, work) for row in rank] for rank in plan])
    # in every round all ranks wait for the one with the most work
    assert works.max(axis=0).sum() / works.mean(axis=0).sum() < 1.02
    columns = sum(packing.pack(row, batch, 0).input_ids.numel() for rank in plan for row in rank)
    prompts = {s.prompt_ids.tobytes(): len(s.prompt_ids) for s in batch}
    once = sum(prompts.values()) + sum(len(s.completion_ids) for s in batch)
    assert columns < 1.03 * once


def test_work_is_counted_in_a_tokens_products_with_the_layers() -> None:
    # a layer of Qwen2-0.5B: 896·896·2 + 896·128·2 + 3·896·4864 = 14,909,440 weights
    work = Work.of(QWEN2_HALF)
    assert work.pair == pytest.approx(2 * 896 / 14_909_440)
    assert work.answer == pytest.approx(896 * 151_936 / (24 * 14_909_440))
    assert Work.of(QWEN2_HALF, head=False).answer == 0
    assert Work.of(SimpleNamespace(hidden_size=8)) == TOKENS_ONLY


def test_an_index_that_stands_there_twice_is_refused_not_lost() -> None:
    batch = [sample(4, 3), sample(4, 3)]
    with pytest.raises(ValueError, match="twice"):
        balance.deal((0, 1, 0), batch, ranks=1, budget=Budget(tokens=100), work=Work())
