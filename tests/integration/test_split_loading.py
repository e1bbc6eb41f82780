"""Stage 3: a model that is split over two gloo ranks as soon as it is loaded."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from gloo_ranks import Run, gloo_ranks

pytest.importorskip("deepspeed")

pytestmark = [pytest.mark.deepspeed]

MIB = 2**20


@pytest.fixture(scope="module")
def ranks() -> Iterator[Run]:
    with gloo_ranks(2) as run:
        yield run


def make(folder: Path, *, hidden: int, layers: int, **shape: Any) -> int:
    """Write a random Llama; return its parameters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2048,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=8,
        **shape,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return sum(p.numel() for p in model.parameters())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("small")
    make(folder, hidden=128, layers=2, tie_word_embeddings=True)
    return str(folder)


def sections(folder: str, dtype: str) -> tuple[Any, Any]:
    from stepcoder_dist.config import LearnerConfig, ModelConfig

    return LearnerConfig(ranks=2, zero_stage=3), ModelConfig(path=folder, dtype=dtype)


def differences(folder: str, dtype: str) -> list[str]:
    """What a rank's gathered networks have otherwise than those that were loaded unsplit."""
    import torch

    from learner import policy_critic
    from learner.zero import zero_engine

    learner, model = sections(folder, dtype)
    found = []
    for load in (policy_critic.load_policy, policy_critic.load_critic):
        split = load(folder, model)
        engine = zero_engine.ZeroEngine(split, learner, model, weight_decay=0.0)
        plain = dict(load(folder, model).named_parameters())
        buffers = dict(load(folder, model).named_buffers())
        assert [name for name, _ in split.named_parameters()] == list(plain)
        for name, parameter in engine.module.named_parameters():
            with zero_engine.gathered([parameter]):
                same = torch.equal(parameter, plain[name]) and parameter.dtype == plain[name].dtype
            found += [] if same else [f"{load.__name__} {name}"]
        for name, buffer in engine.module.named_buffers():
            same = torch.equal(buffer, buffers[name]) and buffer.dtype == buffers[name].dtype
            found += [] if same else [f"{load.__name__} {name}"]
    return found


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_split_parameters_and_buffers_are_those_of_the_model(
    ranks: Run, small: str, dtype: str
) -> None:
    assert ranks(differences, small, dtype) == [[], []]


def anonymous_mib() -> float:
    """This process's own memory: not the pages of files, which all ranks of a machine share."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


@contextmanager
def watched() -> Iterator[list[float]]:
    """Yield a list whose one entry is how far the process's memory rose."""
    before = anonymous_mib()
    rise, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            rise[0] = max(rise[0], anonymous_mib() - before)
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield rise
    finally:
        done.set()
        watcher.join()


def peak_of_loading(folder: str) -> float:
    from learner import policy_critic
    from learner.zero import zero_engine

    learner, model = sections(folder, "float32")
    with watched() as rise:
        zero_engine.freeze_sharded(policy_critic.load_reference(folder, model), learner, model)
    return rise[0]


def test_a_rank_never_holds_more_than_its_share_and_a_tensor(
    ranks: Run, small: str, tmp_path: Path
) -> None:
    parameters = make(tmp_path, hidden=1024, layers=5, tie_word_embeddings=False)
    ranks(peak_of_loading, small)  # what the libraries load once

    peaks = ranks(peak_of_loading, str(tmp_path))

    share, largest = 4 * parameters / 2 / MIB, 4 * 2048 * 1024 / MIB
    assert share == pytest.approx(108, abs=1)
    assert share <= max(peaks) < 1.2 * share + largest
