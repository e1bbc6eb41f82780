"""The seconds of a step on paper, against figures worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepcoder_dist.config import ModelShape, RunConfig
from stepcoder_dist.doctor import step_time
from stepcoder_dist.doctor.dry_run import report
from stepcoder_dist.run.run_file import load

CLUSTER = Path(__file__).parents[3] / "deploy" / "runs" / "cluster.toml"
OF_THE_PAPER = ["hardware.prompt_tokens=500", "hardware.completion_tokens=350"]


def cluster(*overrides: str) -> tuple[RunConfig, ModelShape, step_time.Gpu]:
    config = load(CLUSTER, [*OF_THE_PAPER, *overrides])
    device = step_time.gpu(config)
    assert config.model.shape is not None
    assert device is not None
    return config, config.model.shape, device


def test_passes_of_a_7b_model_on_8_h100() -> None:
    # a group: 500 + 16 x 350 = 6,100 tokens x 2 x 6,476,271,616 parameters of the layers, 5,600
    # answers x 2 x 132,120,576 of the head, 4 x 32 x 4096 for each of 500²/2 + 5,600 x 675 pairs:
    # 82.54 TFLOP; 64 groups x 11 passes / (8 x 989e12 x 0.3)
    time = step_time.estimate(*cluster("learner.ranks=8", "actors.number=8"))
    assert time.compute == pytest.approx(24.48, abs=0.01)


def test_padded_samples_each_have_their_own_prompt() -> None:
    # 1,024 x (850 x 2 x 6,476,271,616 + 350 x 2 x 132,120,576 + 524,288 x (125,000 + 236,250))
    split = ("learner.ranks=8", "actors.number=8", "learner.packing=false")
    time = step_time.estimate(*cluster(*split))
    assert time.compute == pytest.approx(1024 * 11.292e12 * 11 / 2.3736e15, abs=0.05)


def test_zero_3_over_two_nodes_of_100_gigabit_waits_for_the_network() -> None:
    # a rank's 48,800 tokens are 3 rows without gradient and its 12,200 of an update 2 with one:
    # 13.48 GB x (3 asked x 3 + 2 trained x 3 x 4 updates x 2) = 768 GB, half of it between two
    # nodes at 12.5 GB/s: 30.7 s, of which passes hide a half, since they take 24.5 s: 12.2
    slow = ["hardware.network_gb_s=12.5", "hardware.gpus_per_node=4"]
    time = step_time.estimate(*cluster("learner.ranks=8", "actors.number=8", *slow))
    assert time.traffic == pytest.approx(30.74 - 12.24, abs=0.02)


def test_decoding_reads_the_weights_and_its_batchs_cache_at_every_step() -> None:
    # 128 samples an engine at once; 13.48 GB of weights and 128 x 675 x 512 KiB of cache at 70% of
    # 3,350 GB/s: 5.75 + 19.3 ms, 350 times; then 674 more steps of the longest alone
    time = step_time.estimate(*cluster("learner.ranks=8", "actors.number=8"))
    assert time.rollout == pytest.approx(350 * 0.02507 + 674 * 0.00575, rel=0.01)


def test_a_step_takes_its_slower_side_where_rollouts_run_ahead_and_both_where_not() -> None:
    ahead = step_time.estimate(*cluster())
    in_turns = step_time.estimate(*cluster("train.max_staleness=0"))
    assert ahead.step == max(ahead.learning, ahead.sampling)
    assert in_turns.step == in_turns.learning + in_turns.sampling


def test_idle_engines_are_given_to_the_learner() -> None:
    config, shape, device = cluster("learner.ranks=8", "actors.number=8")
    better = step_time.better_split(config, shape, device)
    assert better is not None
    assert better.learner.ranks + better.actors.number == 16
    assert better.learner.ranks > 11


def test_the_shipped_cluster_has_no_much_better_split() -> None:
    config = load(CLUSTER)
    assert config.model.shape is not None
    device = step_time.gpu(config)
    assert device is not None
    assert step_time.better_split(config, config.model.shape, device) is None


def test_own_figures_win_over_the_data_sheet_and_some_gpu_has_to_be_named() -> None:
    _, _, device = cluster("hardware.tflops=100")
    assert (device.flops, device.memory_bytes) == (100e12, 3350e9)
    unnamed = load(CLUSTER).model_copy(
        update={"hardware": RunConfig.model_fields["hardware"].default}
    )
    assert step_time.gpu(unnamed) is None
    assert "names no gpu" in report(unnamed)


def test_the_dry_run_says_who_idles() -> None:
    text = report(load(CLUSTER, ["learner.ranks=8", "actors.number=8"]))
    assert "the engines' 62%" in text
    assert "better: learner.ranks = 12 and actors.number = 4" in text
