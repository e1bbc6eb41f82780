"""Intervals and tests, on cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from stepcoder_dist.ablation.statistics import compare, estimate, holm, samples_to_reach, t_test


def test_where_all_is_alike_the_interval_is_a_point():
    sure = estimate(np.full((3, 8), 0.25))
    assert (sure.mean, sure.low, sure.high) == pytest.approx((0.25, 0.25, 0.25))


def test_seeds_that_differ_widen_the_interval_though_problems_do_not():
    # two seeds, one all right, one all wrong: a draw of two seeds is 0, ½ or 1, ends at 25% each
    spread = estimate(np.array([[0.0] * 50, [1.0] * 50]))
    assert (spread.mean, spread.low, spread.high) == pytest.approx((0.5, 0.0, 1.0))


def test_problems_that_differ_widen_it_as_a_mean_of_coins_does():
    # 100 problems, half of them right: ½ ± 1.96 · √(¼/100)
    coins = estimate(np.array([[0.0, 1.0] * 50] * 3))
    assert coins.low == pytest.approx(0.5 - 0.098, abs=0.011)
    assert coins.high == pytest.approx(0.5 + 0.098, abs=0.011)


def test_the_same_shares_give_the_same_interval():
    shares = np.random.default_rng(1).random((5, 40))
    assert estimate(shares) == estimate(shares.copy())


def test_a_comparison_pairs_seeds_and_problems():
    a = np.array([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]])
    b = np.array([[1.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]])
    found = compare(a, b)
    assert found.gain.mean == pytest.approx(2 / 8)
    assert (found.seeds_better, found.seeds_worse) == (2, 0)
    # by problem: +1, +½, −½, 0
    assert (found.better, found.worse) == (2, 1)
    # P[Bin(3, ½) ≤ 1] = 4/8, twice that is 1
    assert found.p_problems == 1.0
    # both seeds gain ¼: of a spread nothing is known
    assert found.p_seeds is None
    assert found.p_value == 1.0


def test_shares_whose_differences_cancel_are_neither_better_nor_worse():
    # 1 - 2/3 and 1/3 - 2/3: their floats add up to 5.6e-17
    found = compare(np.array([[2 / 3], [2 / 3]]), np.array([[1.0], [1 / 3]]))
    assert (found.better, found.worse) == (0, 0)
    # three programs a problem: +1/3 on one and -1/3 on the other
    found = compare(np.array([[2 / 3, 2 / 3]]), np.array([[1.0, 1 / 3]]))
    assert (found.seeds_better, found.seeds_worse) == (0, 0)


def test_a_gain_on_every_problem_is_as_unlikely_as_heads_every_time():
    found = compare(np.zeros((2, 8)), np.ones((2, 8)))
    assert found.p_problems == pytest.approx(2 / 2**8)
    assert (found.gain.low, found.gain.high) == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize(
    ("freedom", "t"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (10, 2.228)]
)
def test_the_t_test_has_the_five_percent_points_of_the_printed_tables(freedom: int, t: float):
    seeds = freedom + 1
    gains = np.linspace(-1, 1, seeds)
    gains += t * gains.std(ddof=1) / np.sqrt(seeds)
    assert t_test(gains) == pytest.approx(0.05, abs=1e-4)
    assert t_test(-gains) == pytest.approx(0.05, abs=1e-4)


def test_one_lucky_seed_is_no_gain_however_many_problems_it_gains():
    # 40 problems of 40 are better by one seed of three: t = 1, p = 0.42 on 2 degrees of freedom
    found = compare(np.zeros((3, 40)), np.repeat([[1.0], [0.0], [0.0]], 40, axis=1))
    assert found.p_problems < 1e-11
    assert found.p_value == found.p_seeds == pytest.approx(0.4226, abs=1e-4)


def test_one_seed_alone_proves_nothing():
    found = compare(np.zeros((1, 40)), np.ones((1, 40)))
    assert (found.p_seeds, found.p_value) == (None, 1.0)


def test_holm_multiplies_the_smallest_by_all_and_never_goes_down():
    # sorted 0.01, 0.02, 0.03, 0.5: times 4, 3, 2, 1
    assert holm([0.02, 0.5, 0.01, 0.03]) == pytest.approx([0.06, 0.5, 0.04, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_first_evaluation_at_the_level_counts():
    assert samples_to_reach(0.5, [128, 256, 384], [0.4, 0.5, 0.3]) == 256
    assert samples_to_reach(0.6, [128, 256, 384], [0.4, 0.5, 0.3]) is None
