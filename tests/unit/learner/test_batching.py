"""Minibatches, micro-batches, and the one place where predictions are shifted."""

from __future__ import annotations

import numpy as np

from learner.batches import batching
from stepcoder_dist.records import SftExample


def example(prompt: list[int], completion: list[int]) -> SftExample:
    return SftExample(
        prompt_ids=np.array(prompt, dtype=np.int32),
        completion_ids=np.array(completion, dtype=np.int32),
    )


def test_packing_pads_on_the_right_and_points_each_token_at_the_column_before_it() -> None:
    batch = [example([11, 12, 13], [21, 22]), example([11], [31]), example([11, 12], [41, 42, 43])]

    micro = batching.pack((2, 1), batch, pad_id=0)

    assert micro.input_ids.tolist() == [[11, 12, 41, 42, 43], [11, 31, 0, 0, 0]]
    assert micro.rows.tolist() == [0, 0, 0, 1]
    assert micro.predictors.tolist() == [1, 2, 3, 0]
    assert micro.token_ids.tolist() == [41, 42, 43, 31]
    assert micro.samples.tolist() == [2, 2, 2, 1]
    assert micro.offsets.tolist() == [0, 1, 2, 0]


def test_an_empty_micro_batch_is_one_row_of_padding_without_tokens() -> None:
    micro = batching.pack((), [example([1], [2])], pad_id=0)

    assert micro.input_ids.tolist() == [[0]]
    assert micro.token_ids.shape == (0,)


def test_minibatches_hold_every_sample_once_and_depend_on_the_seed_only() -> None:
    first = batching.minibatches(10, 4, (0, 7, 1))

    assert [len(part) for part in first] == [4, 4, 2]
    assert sorted(i for part in first for i in part) == list(range(10))
    assert first == batching.minibatches(10, 4, (0, 7, 1))
    assert first != batching.minibatches(10, 4, (0, 7, 2))


def test_samples_of_like_length_share_a_micro_batch_and_ranks_get_equal_counts() -> None:
    lengths = [3, 9, 4, 8, 1, 7, 2]

    plan = batching.deal(tuple(range(7)), lengths, ranks=2, microbatch_samples=2)

    # by length: 1 3 | 5 2 | 0 6 | 4, dealt in turn
    assert plan == [[(1, 3), (0, 6)], [(5, 2), (4,)]]


def test_a_rank_without_work_gets_empty_micro_batches() -> None:
    plan = batching.deal((0, 1, 2), [5, 5, 5], ranks=2, microbatch_samples=1)

    assert plan == [[(0,), (2,)], [(1,), ()]]


def test_a_small_minibatch_is_spread_over_the_ranks_before_micro_batches_are_filled() -> None:
    plan = batching.deal((0, 1, 2, 3), [4, 3, 2, 1], ranks=2, microbatch_samples=8)

    assert plan == [[(0, 1)], [(2, 3)]]


def test_one_rank_and_many_train_the_same_minibatch() -> None:
    lengths = list(range(20, 3, -1))
    for ranks in (1, 2, 3, 5):
        plan = batching.deal(tuple(range(17)), lengths, ranks=ranks, microbatch_samples=4)
        dealt = [i for rank in plan for part in rank for i in part]
        assert sorted(dealt) == list(range(17))
        assert len({len(rank) for rank in plan}) == 1
