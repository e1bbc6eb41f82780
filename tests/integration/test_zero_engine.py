"""One network under DeepSpeed on two gloo ranks, without Ray: sums, precision, what is restored."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gloo_ranks import Run, gloo_ranks
from learner_batches import run_config, trajectories

pytest.importorskip("deepspeed")

pytestmark = [pytest.mark.deepspeed]

RANKS = 2
MANY = 64
"""Micro-batches of one sample on each rank: enough for a sum in bfloat16 to lose digits."""
FEW = 3


@pytest.fixture(scope="module")
def ranks() -> Iterator[Run]:
    with gloo_ranks(RANKS) as run:
        yield run


def examples() -> list[Any]:
    """Of 5 + 7 tokens; those of rank r are r, r + 2, …"""
    from stepcoder_dist.records import SftExample

    random = np.random.default_rng(0)
    ids = random.integers(0, 512, (RANKS * MANY, 12)).astype(np.int32)
    return [SftExample(prompt_ids=row[:5], completion_ids=row[5:]) for row in ids]


def policy(dtype: str, *, checkpointing: bool = False) -> Any:
    """A random Llama whose weights are the same in every process and dtype."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from learner import policy_critic

    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
    )
    causal_lm = LlamaForCausalLM(shape).to(torch.bfloat16).to(getattr(torch, dtype))
    policy_critic._prepare(causal_lm, gradient_checkpointing=checkpointing)
    return policy_critic.Policy(causal_lm)


def engine(stage: int, dtype: str, *, checkpointing: bool = False, **learner: Any) -> Any:
    from learner.zero.zero_engine import ZeroEngine
    from stepcoder_dist.config import LearnerConfig, ModelConfig

    return ZeroEngine(
        policy(dtype, checkpointing=checkpointing),
        LearnerConfig(ranks=RANKS, zero_stage=stage, **learner),
        ModelConfig(path="unused", dtype=dtype),
        weight_decay=0.0,
    )


def update(trained: Any, micro_batches: int) -> float:
    """One update on that many examples of each rank; the gradients' norm."""
    import torch

    from learner.batches import batching

    mine = range(torch.distributed.get_rank(), RANKS * micro_batches, RANKS)
    for index in mine:
        logprobs, _ = trained(**batching.pack((index,), examples(), 0).policy_inputs())
        trained.backward(-logprobs.sum() / 100, last=index == mine[-1])
    return float(trained.step(1e-3))


def look(trained: Any) -> None:
    """A pass without gradients over what `update` trains on, as before each step."""
    import torch

    from learner.batches import batching

    with torch.no_grad():
        for index in range(torch.distributed.get_rank(), RANKS * FEW, RANKS):
            trained(**batching.pack((index,), examples(), 0).policy_inputs())


def two_norms(stage: int, dtype: str) -> list[float]:
    trained = engine(stage, dtype)
    return [update(trained, MANY), update(trained, FEW)]


def norm_summed_in_float32(dtype: str) -> float:
    """The same gradients, one after the other on one rank, added up by hand."""
    import torch

    from learner.batches import batching

    alone = policy(dtype)
    sums = [torch.zeros(p.shape) for p in alone.parameters()]
    for index in range(RANKS * MANY):
        logprobs, _ = alone(**batching.pack((index,), examples(), 0).policy_inputs())
        found = torch.autograd.grad(-logprobs.sum() / 100, list(alone.parameters()))
        for total, gradient in zip(sums, found, strict=True):
            total.add_(gradient.float())
    return float(torch.nn.utils.get_total_norm(sums))


def test_bfloat16_gradients_are_summed_in_float32_over_micro_batches_and_ranks(ranks: Run) -> None:
    found = [ranks(two_norms, stage, "bfloat16")[0] for stage in (0, 1, 2, 3)]

    # rounding a sum to bfloat16 after each micro-batch leaves a difference of 7e-5
    by_hand = ranks(norm_summed_in_float32, "bfloat16")[0]
    assert [first for first, _ in found] == pytest.approx([by_hand] * 4, rel=3e-6)
    # every stage moves the weights alike
    seconds = [second for _, second in found]
    assert seconds == pytest.approx([seconds[2]] * 4, rel=1e-5)


def take(trained: Any, folder: str, *, copied: bool = True) -> Any:
    from learner.saving import checkpoint

    return checkpoint.take(Path(folder), {"policy": trained}, version=1, counters={}, copied=copied)


def finish(part: Any) -> None:
    """What the driver asks the ranks for."""
    import torch

    sums = [None] * RANKS
    torch.distributed.all_gather_object(sums, part.write())
    if torch.distributed.get_rank() == 0:
        part.finish(run_config(), sums)
    torch.distributed.barrier()


def restored(stage: int, dtype: str, folder: str, copied: bool) -> tuple[list[float], list[float]]:
    """Norms of two updates after a save, and of the same two after loading it again."""
    trained = engine(stage, dtype)
    update(trained, FEW)
    part = take(trained, folder, copied=copied)
    straight = [update(trained, FEW), update(trained, FEW)]
    finish(part)
    again = engine(stage, dtype)
    again.load(Path(folder) / "policy")
    return straight, [update(again, FEW), update(again, FEW)]


@pytest.mark.parametrize("copied", [True, False], ids=["copied", "in place"])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_what_was_saved_in_bfloat16_continues_bitwise(
    ranks: Run, stage: int, copied: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "step"
    straight, again = ranks(restored, stage, "bfloat16", str(folder), copied)[0]
    assert again == straight


def saved_while_training(folder: str) -> tuple[bool, list[str]]:
    """Train while a disk stands still: was the write over then, what did this rank read?"""
    from learner.saving import summed_file

    read: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).startswith(str(Path(folder).parent)):
            path, _, flags = arguments
            if flags & os.O_ACCMODE == os.O_RDONLY and not Path(path).is_dir():
                read.append(str(path))

    disk = threading.Event()
    write = summed_file.SummedFile.write
    trained = engine(2, "float32")
    update(trained, FEW)
    sys.addaudithook(watch)
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as thread:
        slow = lambda file, data: (disk.wait(), write(file, data))[1]  # noqa: E731
        patch.setattr(summed_file.SummedFile, "write", slow)
        part = take(trained, folder)
        writing = thread.submit(part.write)
        update(trained, FEW)
        written = writing.done()
        disk.set()
        writing.result()
        finish(part)
    return written, list(read)


def test_ranks_train_while_they_write_and_read_nothing_back(ranks: Run, tmp_path: Path) -> None:
    from learner.saving import manifest
    from stepcoder_dist.errors import UserError

    folder = tmp_path / "step"
    assert ranks(saved_while_training, str(folder)) == [(False, []), (False, [])]

    config = run_config(learner={"zero_stage": 2})
    shards = sorted(manifest.verify(folder, config).files)
    assert [name for name in shards if "rank" in name] == [
        "policy/state/mp_rank_00_model_states.pt",
        "policy/state/zero_pp_rank_0_mp_rank_00_optim_states.pt",
        "policy/state/zero_pp_rank_1_mp_rank_00_optim_states.pt",
        "rank_0000.pt",
        "rank_0001.pt",
    ]
    for name in shards:
        intact = (folder / name).read_bytes()
        middle = len(intact) // 2
        (folder / name).write_bytes(
            intact[:middle] + bytes([intact[middle] ^ 1]) + intact[middle + 1 :]
        )
        with pytest.raises(UserError, match=f"{name} is damaged"):
            manifest.verify(folder, config)
        (folder / name).write_bytes(intact)


def same_files(stage: int, dtype: str, folder: str) -> list[str]:
    """Names of this rank's files whose copy is not written as the original would be."""
    import torch

    trained = engine(stage, dtype)
    update(trained, FEW)
    finish(take(trained, f"{folder}/copied"))
    finish(take(trained, f"{folder}/plain", copied=False))
    names = [path.relative_to(f"{folder}/plain") for path in Path(folder).rglob("plain/**/*.pt")]
    torch.distributed.barrier()
    return [
        str(name)
        for name in names
        if (Path(folder) / "copied" / name).read_bytes()
        != (Path(folder) / "plain" / name).read_bytes()
    ]


# at stage 3 DeepSpeed hangs attributes of its own on tensors, which a copy does not have
@pytest.mark.parametrize("stage", [0, 2])
def test_a_copy_makes_the_same_files(ranks: Run, stage: int, tmp_path: Path) -> None:
    assert ranks(same_files, stage, "bfloat16", str(tmp_path)) == [[], []]


def saved_weights(stage: int, dtype: str, folder: str) -> dict[str, Any]:
    """Save after an update; the weights as they are then, as lists."""
    from learner.zero import zero_engine

    trained = engine(stage, dtype)
    update(trained, FEW)
    finish(take(trained, folder))
    weights = {}
    for name, parameter in trained.module.named_parameters():
        with zero_engine.gathered([parameter]) if stage == 3 else nullcontext():
            weights[name] = parameter.detach().float().numpy().copy()
    return weights


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_one_process_reads_the_weights_that_the_ranks_have_saved(
    ranks: Run, stage: int, dtype: str, tmp_path: Path
) -> None:
    import torch

    from learner.saving import offline_export

    folder = tmp_path / "step"
    weights = ranks(saved_weights, stage, dtype, str(folder))[0]

    merged = offline_export._merged(folder / "policy")
    read = {
        name: merged[name].detach().to(getattr(torch, dtype)).float().numpy() for name in weights
    }
    assert all(np.array_equal(read[name], array) for name, array in weights.items())


def three_norms(
    stage: int, dtype: str, checkpointing: bool, learner: dict[str, Any]
) -> list[float]:
    trained = engine(stage, dtype, checkpointing=checkpointing, **learner)
    norms = []
    for _ in range(3):
        look(trained)
        norms.append(update(trained, FEW))
    return norms


def test_stage_3_in_bfloat16_with_checkpointed_layers_is_the_same_learner(ranks: Run) -> None:
    plain = ranks(three_norms, 3, "bfloat16", False, {})
    checkpointed = ranks(three_norms, 3, "bfloat16", True, {})
    float32 = ranks(three_norms, 2, "float32", False, {})

    assert checkpointed == plain
    assert checkpointed[0] == pytest.approx(float32[0], rel=0.01)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_an_optimizer_in_the_hosts_memory_takes_the_same_steps(ranks: Run, stage: int) -> None:
    # where there is no GPU, `learner.offload_optimizer` has nothing to move
    away = {"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}

    offloaded = ranks(three_norms, stage, "bfloat16", False, {"deepspeed": away})

    # the last bit of a float32 sum may round a weight to the next bfloat16
    kept = ranks(three_norms, stage, "bfloat16", False, {})
    assert offloaded[0] == pytest.approx(kept[0], rel=1e-3)


def norms_around(stage: int, dtype: str, move: bool, folder: str) -> list[float]:
    """Norms of three updates, with a look and a save between them while the states are away."""
    trained = engine(stage, dtype)
    norms = []
    for step in range(3):
        norms.append(update(trained, FEW))
        if move:
            trained.states.to_host()
            trained.states.to_host()
            # DeepSpeed's own record; it takes no part at stage 0
            assert stage == 0 or trained._engine.optimizer.offloaded_states
        look(trained)
        part = take(trained, f"{folder}/{step}-{move}")
        if move:
            trained.states.to_device()
            trained.states.to_device()
            assert stage == 0 or not trained._engine.optimizer.offloaded_states
        finish(part)
    again = engine(stage, dtype)
    if move:
        again.states.to_host()
        again.states.to_device()
    again.load(Path(folder) / f"1-{move}" / "policy")
    return [*norms, update(again, FEW)]


MOVABLE = [
    (0, "float32"),
    (1, "float32"),
    *((s, d) for s in (2, 3) for d in ("float32", "bfloat16")),
]


@pytest.mark.parametrize(("stage", "dtype"), MOVABLE)
def test_states_that_were_on_the_host_continue_bitwise_and_are_saved_from_there(
    ranks: Run, stage: int, dtype: str, tmp_path: Path
) -> None:
    kept, moved = [ranks(norms_around, stage, dtype, m, str(tmp_path)) for m in (False, True)]
    assert moved == kept
    first, second, third, resumed = moved[0]
    assert third == resumed
    assert len({first, second, third}) == 3


def everything(trained: Any) -> list[Any]:
    """Weights, masters and moments of this rank, with Adam's counts; copied."""
    import torch

    optimizer = trained._engine.optimizer
    adam = getattr(optimizer, "optimizer", optimizer)
    found = [p.ds_tensor if hasattr(p, "ds_tensor") else p for p in trained.module.parameters()]
    found += [p for group in adam.param_groups for p in group["params"]]
    for state in adam.state.values():
        found += [value for value in state.values() if torch.is_tensor(value)]
    return [tensor.detach().clone() for tensor in found]


def around_a_bad_update(stage: int, dtype: str, how: str) -> tuple[bool, float, list[float]]:
    """Skip an update that rank 1 alone spoils: is all as it was, the norm, those of the next two.

    Then the same two updates without it.
    """
    import torch

    from learner.batches import batching

    def two_updates(spoil: bool) -> tuple[bool, float, list[float]]:
        trained = engine(stage, dtype)
        first, same, norm = update(trained, FEW), True, 0.0
        if spoil:
            before, rank = everything(trained), torch.distributed.get_rank()
            for number in range(FEW):
                index = rank + RANKS * number
                logprobs, _ = trained(**batching.pack((index,), examples(), 0).policy_inputs())
                if rank == 1 and number == 1 and how == "gradient":
                    logprobs.register_hook(lambda gradient: gradient * float("nan"))
                loss = -logprobs.sum() / 100
                if rank == 1 and number == 1 and how == "loss":
                    loss = loss * float("inf")
                trained.backward(loss, last=number == FEW - 1)
            norm = trained.norm()
            trained.drop()
            after = everything(trained)
            same = all(map(torch.equal, before, after)) and len(before) == len(after)
        look(trained)
        return same, norm, [first, update(trained, FEW)]

    same, norm, norms = two_updates(spoil=True)
    return same, norm, norms + two_updates(spoil=False)[2]


def around_bad_updates(stage: int, dtype: str) -> list[tuple[bool, float, list[float]]]:
    """Do so for a loss and for a gradient: processes are started once for both."""
    return [around_a_bad_update(stage, dtype, how) for how in ("loss", "gradient")]


@pytest.mark.parametrize(
    ("stage", "dtype"),
    [
        *((stage, "bfloat16") for stage in (2, 3)),
        (3, "float32"),
        *(
            pytest.param(stage, dtype, marks=pytest.mark.long)
            for stage, dtype in ((1, "bfloat16"), (0, "float32"), (2, "float32"))
        ),
    ],
)
def test_an_update_that_one_rank_spoils_leaves_every_rank_as_it_was(
    ranks: Run, stage: int, dtype: str
) -> None:
    for answers in ranks(around_bad_updates, stage, dtype):
        for same, norm, norms in answers:
            assert same
            assert not np.isfinite(norm)
            assert norms[:2] == norms[2:]


def a_step_that_rank_1_spoils(stage: int) -> tuple[list[str], tuple[int, ...], bool, list[float]]:
    """Why the step was skipped, of which samples, is all as it was; norms of the step after it.

    Then the norm of that step where nothing went before it.
    """
    import torch

    from learner.nonfinite import SkippedUpdates
    from learner.ppo_step import PpoStep

    rank = torch.distributed.get_rank()
    keys = {"advantage": "reinforce_pp", "kl_beta": 0.0, "packing": False}
    keys |= {"samples_per_step": 6, "minibatch_samples": 6, "policy_lr": 1e-3}
    learner = run_config(learner={"ranks": RANKS, "zero_stage": stage, **keys}).learner

    class Spoilt:
        """The network, whose log-probs are NaN on rank 1 while `on`."""

        def __init__(self, trained: Any) -> None:
            self._trained = trained
            self.on = False

        def __call__(self, **inputs: Any) -> Any:
            logprobs, entropy = self._trained(**inputs)
            bad = self.on and rank == 1 and torch.is_grad_enabled()
            return (logprobs * float("nan") if bad else logprobs), entropy

        def __getattr__(self, name: str) -> Any:
            return getattr(self._trained, name)

    def step_of(trained: Any) -> PpoStep:
        return PpoStep(
            learner,
            policy=trained,
            critic=None,
            reference=None,
            rank=rank,
            seed=0,
            device=torch.device("cpu"),
        )

    network, skipped = Spoilt(engine(stage, "float32")), SkippedUpdates()
    step, before = step_of(network), everything(network)
    network.on = True
    step.run(trajectories(6, seed=1), 0, skipped)
    same = all(map(torch.equal, before, everything(network)))
    network.on = False
    found = [step.run(trajectories(6, seed=2), 1)["grad_norm_policy"]]
    alone = step_of(engine(stage, "float32"))
    found.append(alone.run(trajectories(6, seed=2), 1)["grad_norm_policy"])
    return skipped.why, skipped.untrained, same, found


@pytest.mark.parametrize("stage", [2, 3])
def test_every_rank_skips_the_step_that_one_of_them_finds_not_finite(
    ranks: Run, stage: int
) -> None:
    for why, untrained, same, norms in ranks(a_step_that_rank_1_spoils, stage):
        assert why == ["policy_loss is nan on rank 1"]
        assert untrained == tuple(range(6))
        assert same
        assert norms[0] == norms[1]
