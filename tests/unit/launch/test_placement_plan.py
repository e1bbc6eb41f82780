"""The bundles of a run's placement group, on nodes that are only numbers."""

from __future__ import annotations

import pytest

from stepcoder_dist.errors import ConfigError
from stepcoder_dist.launch.cluster.placement import plan

ONE = {"CPU": 1.0, "GPU": 1.0}
FOUR_GPUS = {"CPU": 32.0, "GPU": 4.0}
EIGHT_GPUS = {"CPU": 64.0, "GPU": 8.0}


def test_ranks_that_fit_one_node_share_a_bundle_ahead_of_the_engines() -> None:
    assert plan(4, ONE, 2, ONE, [FOUR_GPUS, FOUR_GPUS]) == [{"CPU": 4.0, "GPU": 4.0}, ONE, ONE]


def test_more_ranks_than_a_node_holds_fill_as_few_nodes_as_they_fit() -> None:
    bundles = plan(12, ONE, 4, ONE, [EIGHT_GPUS, EIGHT_GPUS])
    assert bundles[:2] == [{"CPU": 8.0, "GPU": 8.0}, {"CPU": 4.0, "GPU": 4.0}]
    assert bundles[2:] == [ONE] * 4


def test_the_roomiest_nodes_are_filled_first() -> None:
    bundles = plan(10, ONE, 0, ONE, [FOUR_GPUS, EIGHT_GPUS])
    assert bundles == [{"CPU": 8.0, "GPU": 8.0}, {"CPU": 2.0, "GPU": 2.0}]


def test_ranks_use_one_node_more_where_whole_engines_would_not_fit_otherwise() -> None:
    three = {"CPU": 3.0, "GPU": 3.0}
    # both ranks on one node would leave room for one engine of three GPUs only
    assert plan(2, ONE, 2, three, [FOUR_GPUS, FOUR_GPUS, ONE]) == [ONE, ONE, three, three]


def test_an_engine_that_no_node_can_hold_is_refused_with_what_the_nodes_have() -> None:
    with pytest.raises(ConfigError, match=r"engines of 8 CPU, 8 GPU.*32 CPU, 4 GPU; 32 CPU, 4 GPU"):
        plan(0, ONE, 1, {"CPU": 8.0, "GPU": 8.0}, [FOUR_GPUS, FOUR_GPUS])


def test_what_is_not_started_reserves_nothing() -> None:
    assert plan(0, ONE, 0, ONE, [FOUR_GPUS]) == []
    assert plan(2, ONE, 0, ONE, [FOUR_GPUS]) == [{"CPU": 2.0, "GPU": 2.0}]
    assert plan(0, ONE, 2, ONE, [FOUR_GPUS]) == [ONE, ONE]
