"""What Ray's dashboard shows of a step."""

from __future__ import annotations

import pytest

pytest.importorskip("ray")

from stepcoder_dist.launch.cluster.ray_metrics import RayMetrics
from stepcoder_dist.loop.metrics import METRICS


def test_every_figure_that_has_a_name_is_taken() -> None:
    RayMetrics().write(1, dict.fromkeys(METRICS, 0.5))


def test_a_figure_without_a_name_is_refused_with_the_place_to_name_it() -> None:
    with pytest.raises(ValueError, match=r"temperature_of_the_room; say .*loop/metrics\.py"):
        RayMetrics().write(1, {"reward": 0.5, "temperature_of_the_room": 20.0})
