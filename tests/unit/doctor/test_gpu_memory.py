"""The memory estimate against figures worked out by hand, published sizes and real models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepcoder_dist.config import ModelConfig, ModelShape, RunConfig, TinyModel
from stepcoder_dist.doctor import gpu_memory, memory_fit, model_shape, push_memory
from stepcoder_dist.run.run_file import load

RUNS = Path(__file__).parents[3] / "deploy" / "runs"
GIB = 2**30
SMALL = ModelShape(
    hidden_size=64,
    layers=2,
    heads=4,
    kv_heads=2,
    intermediate_size=128,
    vocabulary=100,
    tied_embeddings=True,
    attention_bias=True,
)
"""Embedding 6,400; a layer 64·(64+32+32) + 64·64 + 128 (biases) + 3·64·128 + 2·64 = 37,120; last
norm 64: 80,704. Queries are 64 wide, keys 32."""


ON_GPUS = {
    "learner__resources": {"num_gpus": 1.0},
    "actors__resources": {"num_gpus": 1.0},
}


def config(**changes: object) -> RunConfig:
    learner = {
        "samples_per_step": 16,
        "minibatch_samples": 16,
        "microbatch_samples": 2,
        "zero_stage": 0,
    }
    tree = {
        "name": "memory",
        "model": {"path": "m", "max_tokens": 100, "dtype": "bfloat16"},
        "problems": {"train": "t", "heldout": "h"},
        "sampling": {"max_new_tokens": 50},
        "learner": learner,
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        tree[section] = {**tree.get(section, {}), name: value}  # type: ignore[dict-item]
    return RunConfig.model_validate(tree)


@pytest.mark.parametrize(
    ("run_file", "published"),
    [("one_gpu.toml", 494_032_768), ("cluster.toml", 6_740_512_768)],
)
def test_the_shapes_of_the_shipped_run_files_count_to_the_published_parameters(
    run_file: str, published: int
) -> None:
    shape = load(RUNS / run_file).model.shape
    assert shape is not None
    assert model_shape.parameters(shape) == published


def test_parameters_of_policy_and_critic_by_hand() -> None:
    assert model_shape.parameters(SMALL) == 80_704
    assert model_shape.critic_parameters(SMALL) == 80_704 + 64 + 1
    untied = SMALL.model_copy(update={"tied_embeddings": False})
    assert model_shape.parameters(untied) == 80_704 + 6_400
    assert model_shape.critic_parameters(untied) == 80_704 + 64 + 1


def test_sft_holds_the_policy_alone_and_its_own_micro_batch() -> None:
    tree = config(learner__microbatch_samples=2)
    sft = tree.sft.model_copy(update={"microbatch_samples": 6, "packing": False})
    padded = tree.model_copy(update={"sft": sft})
    rank = gpu_memory.sft_memory(padded, SMALL)
    assert (rank.parameters, rank.optimizer) == (2 * 80_704, 12 * 80_704)
    assert (rank.kept_buffers, rank.gradients) == (4 * 80_704, 2 * 80_704)
    assert rank.activations == 3 * gpu_memory.activation_bytes(tree, SMALL)
    # packed: 600 tokens, 2 layers, 64 wide queries of 2 bytes once more
    packed = tree.model_copy(update={"sft": sft.model_copy(update={"packing": True})})
    more = gpu_memory.sft_memory(packed, SMALL).activations - rank.activations
    assert more == 600 * 2 * 64 * 2


def test_without_a_critic_neither_its_parameters_nor_its_optimiser_count() -> None:
    grpo = config(learner__zero_stage=2, learner__ranks=4, learner__advantage="grpo")
    rank = gpu_memory.rank_memory(grpo, SMALL)
    # policy and reference; Adam and gradients of the policy alone
    assert rank.parameters == 2 * 2 * 80_704
    assert rank.optimizer == 12 * 80_704 // 4
    assert rank.gradients == 4 * 80_704 // 4


# rank 4 on all seven: 4 · (128 + 96 + 96 + 128 + 3 · 192) = 4,096 of a layer, 8,192 of both
ADAPTERS = 8_192


def test_with_adapters_only_they_and_the_value_head_have_gradients_and_optimizer_states() -> None:
    lora = {"rank": 4}
    ppo = config(learner__zero_stage=2, learner__ranks=4, learner__lora=lora)
    rank = gpu_memory.rank_memory(ppo, SMALL)
    # policy and critic with their adapters; the reference is the policy
    assert rank.parameters == 2 * (80_704 + 80_769 + 2 * ADAPTERS)
    trained = 2 * ADAPTERS + 65
    assert rank.optimizer == 12 * trained // 4
    assert rank.gradients == 4 * trained // 4
    plain = gpu_memory.rank_memory(config(learner__zero_stage=2, learner__ranks=4), SMALL)
    # no gradient of the output layer in float32
    assert plain.logits - rank.logits == 4 * 6_400
    sft = gpu_memory.sft_memory(ppo, SMALL)
    assert (sft.parameters, sft.optimizer) == (2 * (80_704 + ADAPTERS), 12 * ADAPTERS // 4)


def test_an_adapters_targets_count_by_their_last_part() -> None:
    some = {"rank": 2, "targets": ["self_attn.q_proj", "down_proj"]}
    grpo = config(learner__advantage="grpo", learner__lora=some, model__dtype="float32")
    rank = gpu_memory.rank_memory(grpo, SMALL)
    # 2 · (64 + 64) and 2 · (128 + 64) in each of two layers; stage 0: two moments
    assert rank.optimizer == 8 * 2 * (256 + 384)


def test_a_push_merges_adapters_in_float32() -> None:
    plain = config(**ON_GPUS)
    lora = config(**ON_GPUS, learner__lora={"rank": 4})
    more = [push_memory.push_memory(c, SMALL).sender for c in (plain, lora)]
    # a bucket of merged weights, and two of the largest, 64 · 128, while it is merged
    assert more == [0, 256 * 2**20 + 2 * 4 * 64 * 128]


@pytest.mark.parametrize(
    ("stage", "ranks", "parameters", "optimizer", "gradients"),
    # ZeRO's table in bytes: Ψ = 80,704 of policy and of reference, 80,769 of the critic
    [
        (0, 1, 2 * 242_177, 12 * 161_473, 2 * 161_473),
        (0, 4, 2 * 242_177, 12 * 161_473 // 4, 2 * 161_473),
        (1, 4, 2 * 242_177, 12 * 161_473 // 4, 2 * 161_473),
        (2, 4, 2 * 242_177, 12 * 161_473 // 4, 4 * 161_473 // 4),
        (3, 4, 2 * 242_177 // 4, 12 * 161_473 // 4, 0),
    ],
)
def test_model_states_in_bfloat16_follow_the_zero_stage(
    stage: int, ranks: int, parameters: int, optimizer: int, gradients: int
) -> None:
    rank = gpu_memory.rank_memory(config(learner__zero_stage=stage, learner__ranks=ranks), SMALL)
    assert (rank.parameters, rank.optimizer, rank.gradients) == (parameters, optimizer, gradients)


def test_float32_without_zero_has_two_moments_and_no_copy() -> None:
    rank = gpu_memory.rank_memory(config(model__dtype="float32"), SMALL)
    assert (rank.parameters, rank.optimizer, rank.gradients) == (
        4 * 242_177,
        8 * 161_473,
        4 * 161_473,
    )


def test_stage_3_keeps_gradients_and_a_bucket_for_each_trained_network() -> None:
    rank = gpu_memory.rank_memory(config(learner__zero_stage=3), SMALL)
    assert rank.kept_buffers == 4 * 161_473 + 4 * 80_704 + 4 * 80_769
    assert rank.stays == rank.parameters + rank.optimizer + rank.kept_buffers


def test_an_offloaded_optimizer_leaves_the_gpu_for_the_host() -> None:
    on_gpu = {"learner__zero_stage": 2, "learner__resources": {"num_gpus": 1}}
    rank = gpu_memory.rank_memory(config(**on_gpu, learner__offload_optimizer=True), SMALL)
    assert (rank.optimizer, rank.host_optimizer) == (0, 12 * 161_473)
    cpu = gpu_memory.rank_memory(
        config(learner__zero_stage=2, learner__offload_optimizer=True), SMALL
    )
    assert (cpu.optimizer, cpu.host_optimizer) == (12 * 161_473, 0)


def test_activations_by_hand_whole_and_checkpointed() -> None:
    # 200 tokens; a layer: 2·8·64 + 4·(64 + 32) + 8·128 = 2,432 bytes a token; last norm 8·64
    assert gpu_memory.activation_bytes(config(), SMALL) == 200 * (2 * 2_432 + 512)
    checkpointed = config(learner__gradient_checkpointing=True)
    assert gpu_memory.activation_bytes(checkpointed, SMALL) == 200 * (2 * 64 * 2 + 2_432 + 512)


def test_an_engine_needs_weights_and_cache_by_its_share_of_the_heads() -> None:
    actor = gpu_memory.actor_memory(config(), SMALL)
    assert (actor.weights, actor.kv_per_token) == (2 * 80_704, 2 * 2 * 32 * 2)
    tree = {"tensor_parallel": 4, "resources": {"num_gpus": 4}}
    parallel = config().model_copy(update={"actors": type(config().actors)(**tree)})
    actor = gpu_memory.actor_memory(parallel, SMALL)
    # 2 key heads over 4 GPUs: each GPU still holds one
    assert (actor.weights, actor.kv_per_token) == (2 * 80_704 // 4, 2 * 2 * 16 * 2)


def test_deepseek_6_7b_under_zero_3_on_8_gpus_by_hand() -> None:
    run = load(RUNS / "cluster.toml", ["learner.ranks=8"])
    assert run.model.shape is not None
    rank = gpu_memory.rank_memory(run, run.model.shape)
    policy, critic = 6_740_512_768, 6_740_512_768 - 32_256 * 4096 + 4096 + 1
    assert rank.parameters == 2 * (2 * policy + critic) // 8
    assert rank.optimizer == 12 * (policy + critic) // 8
    # 4 samples of 2,048 tokens: 32 layer inputs of 8 KiB and one layer of 186,368 bytes a token
    # packed, in that one layer: answers of 8 KiB a token; groups of 1,024 + 16 x 1,024 tokens have
    # 16 x 2,048 keys and values of 16 KiB, for 17,408 tokens
    packed = 8192 + int(2 * 32_768 / 17_408 * 4096) * 2
    assert rank.activations == 8192 * (32 * 8192 + 186_368 + 32_768 + packed)
    assert 35 < rank.peak / GIB < 45
    actor = gpu_memory.actor_memory(run, run.model.shape)
    assert actor.kv_per_token == 512 * 1024


@pytest.mark.parametrize("run_file", ["one_gpu.toml", "cluster.toml"])
def test_the_shipped_gpu_run_files_fit_the_gpu_they_name(run_file: str) -> None:
    run = load(RUNS / run_file)
    assert run.model.shape is not None
    assert run.gpu_memory_gib is not None
    assert memory_fit.complaints(run, run.model.shape, run.gpu_memory_gib) == []


def test_a_gpu_that_is_too_small_is_told_with_what_to_change() -> None:
    run = load(RUNS / "one_gpu.toml")
    assert run.model.shape is not None
    stepping, sampling = memory_fit.complaints(run, run.model.shape, 16)
    assert "a step of the learner needs 23.0 GiB of 16.0 GiB" in stepping
    assert "gpu_memory_share" in sampling
    tight = load(RUNS / "one_gpu.toml", ["actors.gpu_memory_share=0.05"])
    (share,) = memory_fit.complaints(tight, run.model.shape, 24)
    assert share.startswith("actors.gpu_memory_share = 0.05 is 1.2 GiB")


def test_a_checkpoint_on_this_machine_speaks_before_the_run_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "model_type": "qwen2",
                "hidden_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "intermediate_size": 128,
                "vocab_size": 100,
                "tie_word_embeddings": True,
            }
        )
    )
    wrong = SMALL.model_copy(update={"layers": 3})
    known = model_shape.find(ModelConfig(path=str(tmp_path), shape=wrong))
    assert known is not None
    assert model_shape.parameters(known.shape) == 80_704
    assert known.source == f"config.json of {tmp_path}"
    assert "fix it" in known.warning
    agreed = model_shape.find(ModelConfig(path=str(tmp_path), shape=SMALL))
    assert agreed is not None
    assert agreed.warning == ""


def test_a_hub_name_is_found_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--some--model" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text('{"model_type": "qwen2"}')
    assert model_shape.config_json("some/model") == {"model_type": "qwen2"}
    assert model_shape.config_json("some/other") is None


@pytest.mark.parametrize(
    "content",
    ['{"model_type": "deepseek_v3"}', '{"model_type": "llama"}', "[]", "not JSON"],
)
def test_what_config_json_does_not_tell_stays_unknown(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    assert model_shape.find(ModelConfig(path=str(tmp_path))) is None


def test_the_estimate_of_a_tiny_model_counts_what_transformers_builds(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from learner import tiny_model
    from stepcoder_dist.problems import ladder

    tiny = TinyModel(hidden_size=64, layers=2, heads=2, kv_heads=1, intermediate_size=96)
    ladder.write_tokenizer(tmp_path)
    tiny_model.create(tiny, tmp_path, tmp_path, seed=0)
    from transformers import AutoModelForCausalLM

    real = AutoModelForCausalLM.from_pretrained(str(tmp_path)).num_parameters()
    assert model_shape.parameters(model_shape.of_tiny(tiny)) == real
    known = model_shape.find(ModelConfig(path=str(tmp_path)))
    assert known is not None
    assert model_shape.parameters(known.shape) == real


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_what_autograd_saves(dtype: str, *, checkpointing: bool) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    shape = ModelShape(
        hidden_size=256,
        layers=8,
        heads=4,
        kv_heads=4,
        intermediate_size=640,
        vocabulary=300,
        attention_bias=True,
    )
    model = transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(
            vocab_size=300,
            hidden_size=256,
            intermediate_size=640,
            num_hidden_layers=8,
            num_attention_heads=4,
            num_key_value_heads=4,
        )
    ).to(getattr(torch, dtype))
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved: dict[int, int] = {}

    def note(tensor: object) -> object:
        storage = tensor.untyped_storage()  # type: ignore[attr-defined]
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.train()
    ids = torch.arange(200).reshape(2, 100)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    del hidden
    run = config(model__dtype=dtype, learner__gradient_checkpointing=checkpointing)
    estimate = gpu_memory.activation_bytes(run, shape)
    if checkpointing:  # the one layer that lives while it is recomputed is not there yet
        layers = 256 * run.learner.microbatch_samples * 100 * (4 if dtype == "float32" else 2) * 8
        norm = 200 * 256 * (12 if dtype == "float32" else 8)
        estimate = layers + norm
    assert 0.9 * estimate <= sum(saved.values()) <= 1.1 * estimate


def test_a_push_over_nccl_needs_packed_buffers_on_both_sides() -> None:
    # two buffers of a 1 MiB bucket and the largest tensor, the embedding: 2 bytes x 100 x 64
    packed = 2 * (2**20 + 12_800)
    nccl = {**ON_GPUS, "weights__transport": "nccl", "weights__bucket_mib": 1}
    push = push_memory.push_memory(config(**nccl), SMALL)
    assert (push.sender, push.receiver) == (packed, packed)
    # at stage 3 rank 0 holds the bucket twice more: gathered, and its copy
    split = push_memory.push_memory(config(learner__zero_stage=3, **nccl), SMALL)
    assert split.sender == packed + 2 * 2**20


def test_a_push_over_ipc_needs_one_buffer_on_the_rank() -> None:
    ipc = ["weights.transport=ipc", "weights.bucket_mib=1"]
    push = push_memory.push_memory(load(RUNS / "one_gpu.toml", ipc), SMALL)
    assert (push.sender, push.receiver) == (2**20, 0)
    # at stage 3 a rank holds the bucket twice more: gathered, and its copy
    split = load(RUNS / "one_gpu.toml", [*ipc, "learner.zero_stage=3"])
    assert push_memory.push_memory(split, SMALL).sender == 3 * 2**20


def test_a_push_through_the_object_store_needs_a_gathered_bucket_at_stage_3_only() -> None:
    whole = push_memory.push_memory(config(), SMALL)
    assert (whole.sender, whole.receiver) == (0, 0)
    split = config(learner__zero_stage=3, weights__bucket_mib=1)
    assert push_memory.push_memory(split, SMALL).sender == 2**20


def test_a_push_that_does_not_fit_names_the_bucket() -> None:
    nccl = {"weights__transport": "nccl", "weights__bucket_mib": 8192}
    on_gpus = config(learner__resources={"num_gpus": 1}, actors__resources={"num_gpus": 1}, **nccl)
    told = " ".join(memory_fit.complaints(on_gpus, SMALL, 16.0))
    assert "rank 0 needs" in told
    assert "an engine needs" in told
    assert told.count("weights.bucket_mib") == 2


def test_an_engine_that_sleeps_keeps_its_graphs_on_the_host() -> None:
    apart = config(**ON_GPUS)
    half = {"learner__resources": {"num_gpus": 0.5}, "actors__resources": {"num_gpus": 0.5}}
    tree = config(**ON_GPUS).model_dump(mode="json", exclude_none=True)
    tree["colocate"] = True
    tree["learner"]["resources"] |= half["learner__resources"]
    tree["actors"]["resources"] |= half["actors__resources"]
    in_turns = RunConfig.model_validate(tree)
    more = memory_fit.host_bytes(in_turns, SMALL) - memory_fit.host_bytes(apart, SMALL)
    assert more == 3 * GIB


def in_turns(stage: int, **learner: object) -> RunConfig:
    """Actor and rank on one GPU."""
    tree = config(learner__zero_stage=stage).model_dump(mode="json", exclude_none=True)
    tree["colocate"] = True
    tree["learner"]["resources"] |= {"num_gpus": 0.5}
    tree["learner"] |= learner
    tree["actors"]["resources"] |= {"num_gpus": 0.5}
    return RunConfig.model_validate(tree)


@pytest.mark.parametrize(
    ("stage", "away"),
    # Adam of policy and critic; at stage 3 their gradients and buckets, too
    [(2, 12 * 161_473), (3, 12 * 161_473 + 4 * 161_473 + 4 * 80_704 + 4 * 80_769)],
)
def test_states_that_are_away_while_the_actor_samples_count_on_the_host_and_in_the_step(
    stage: int, away: int
) -> None:
    moving, staying = in_turns(stage, offload_while_sampling=True), in_turns(stage)
    moved, kept = gpu_memory.rank_memory(moving, SMALL), gpu_memory.rank_memory(staying, SMALL)
    assert (moved.away, kept.away) == (away, 0)
    assert moved.stays == kept.stays - away
    assert moved.peak == kept.peak
    host = memory_fit.host_bytes(moving, SMALL) - memory_fit.host_bytes(staying, SMALL)
    assert host == away
    assert gpu_memory.sft_memory(moving, SMALL) == gpu_memory.sft_memory(staying, SMALL)


def test_a_rank_of_stage_3_loads_a_layer_at_a_time() -> None:
    whole = config(**ON_GPUS, learner__zero_stage=2, learner__ranks=4)
    split = config(**ON_GPUS, learner__zero_stage=3, learner__ranks=4)
    saved = memory_fit.host_bytes(whole, SMALL) - memory_fit.host_bytes(split, SMALL)
    # a layer has 37,120 parameters, the embedding fewer
    assert saved == 4 * 2 * (80_704 - 37_120)
    large = SMALL.model_copy(update={"vocabulary": 1000})
    saved = memory_fit.host_bytes(whole, large) - memory_fit.host_bytes(split, large)
    assert saved == 4 * 2 * (model_shape.parameters(large) - 64_000)
