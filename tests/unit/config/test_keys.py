"""What each key of a run file counts for, written out once; and how two configs are compared."""

from __future__ import annotations

from typing import Annotated

import pytest

from stepcoder_dist.config import RunConfig, Section, keys
from stepcoder_dist.config.counts import (
    EVERYTHING,
    NOTHING,
    Counts,
    fixed_for_arms,
    fixed_for_evaluations,
    fixed_for_sft,
    fixed_for_train,
    kept_with_trained,
    kept_with_untrained,
)

# train, sft, evaluation: is a result another under another value? arms: all of an ablation have it
TABLE = """
name                           no    no    no
method                         no    no    no
seed                           yes   yes   yes
run_dir                        no    no    no
dashboard                      no    no    no
colocate                       no    no    no
deterministic                  yes   no    no
gpu_memory_gib                 no    no    no
model.path                     yes   yes   yes
model.tiny                     yes   yes   yes
model.shape                    no    no    no
model.sft_path                 yes   no    yes
model.dtype                    yes   yes   yes
model.max_tokens               yes   yes   yes
model.tiny.hidden_size         yes   yes   yes
model.tiny.layers              yes   yes   yes
model.tiny.heads               yes   yes   yes
model.tiny.kv_heads            yes   yes   yes
model.tiny.intermediate_size   yes   yes   yes
model.tiny.max_positions       yes   yes   yes
model.shape.hidden_size        no    no    no
model.shape.layers             no    no    no
model.shape.heads              no    no    no
model.shape.kv_heads           no    no    no
model.shape.intermediate_size  no    no    no
model.shape.vocabulary         no    no    no
model.shape.head_size          no    no    no
model.shape.tied_embeddings    no    no    no
model.shape.attention_bias     no    no    no
problems.train                 yes   no    no    arms
problems.heldout               no    no    yes
problems.heldout_weak          no    no    no
problems.sft                   no    yes   no
problems.sft_heldout           no    no    no
problems.max_bad_share         no    no    no
problems.limit                 yes   yes   yes
prompt.style                   yes   yes   yes
prompt.task                    yes   yes   yes
prompt.template                yes   yes   yes
prompt.system                  yes   yes   yes
curriculum.kind                yes   no    no
curriculum.fixed_stage         yes   no    no
curriculum.alpha               yes   no    no
curriculum.threshold           yes   no    no
curriculum.group_update        yes   no    no
credit.rule                    yes   no    no
credit.comments                yes   no    no
credit.prose                   yes   no    no
reward.kind                    yes   no    no
sampling.samples_per_problem   yes   no    no
sampling.temperature           yes   no    no
sampling.top_p                 yes   no    no
sampling.max_new_tokens        yes   no    yes
actors.number                  bits  no    bits
actors.min                     no    no    no
actors.max                     no    no    no
actors.autoscale               bits  no    no
actors.silence_s               no    no    no
actors.threads                 bits  no    bits
actors.tensor_parallel         bits  no    bits
actors.kv_cache_gib            bits  no    bits
actors.gpu_memory_share        bits  no    bits
actors.max_batch               bits  no    bits
actors.max_in_flight           no    no    no
actors.engine_args             bits  no    yes
actors.start_timeout_s         no    no    no
actors.leave_timeout_s         no    no    no
actors.resources.num_cpus      no    no    no
actors.resources.num_gpus      no    no    no
actors.resources.custom        no    no    no
sandbox.number                 no    no    no
sandbox.min                    no    no    no
sandbox.max                    no    no    no
sandbox.autoscale              no    no    no
sandbox.silence_s              no    no    no
sandbox.backend                no    no    no
sandbox.image                  no    no    no
sandbox.runtime                no    no    no
sandbox.packages               no    no    no
sandbox.root                   no    no    no
sandbox.sockets                no    no    no
sandbox.containers             no    no    no
sandbox.cpu_limit_s            yes   no    yes
sandbox.wall_limit_s           yes   no    yes
sandbox.program_limit_s        yes   no    yes
sandbox.memory_limit_mib       yes   no    yes
sandbox.output_limit_mib       yes   no    yes
sandbox.processes              yes   no    yes
sandbox.attempts               no    no    no
sandbox.coverage               yes   no    yes
sandbox.hash_seed              yes   no    yes
sandbox.int_digits             yes   no    yes
sandbox.quarantine_after       no    no    no
sandbox.group_losses           no    no    no
sandbox.engine_wait_s          no    no    no
sandbox.engine_answer_s        no    no    no
sandbox.start_timeout_s        no    no    no
sandbox.leave_timeout_s        no    no    no
sandbox.resources.num_cpus     no    no    no
sandbox.resources.num_gpus     no    no    no
sandbox.resources.custom       no    no    no
learner.ranks                  bits  bits  no
learner.threads                bits  bits  no
learner.zero_stage             bits  bits  no
learner.offload_optimizer      yes   yes   no
learner.offload_while_sampling no    no    no
learner.deepspeed              yes   yes   no
learner.samples_per_step       yes   no    no    arms
learner.minibatch_samples      yes   no    no
learner.microbatch_tokens      bits  no    no
learner.forward_tokens         bits  no    no
learner.microbatch_samples     bits  no    no
learner.packing                bits  no    no
learner.epochs                 yes   no    no
learner.advantage              yes   no    no
learner.loss                   yes   no    no
learner.normaliser             yes   no    no
learner.normaliser_tokens      yes   no    no
learner.selection              yes   no    no
learner.flat_groups            yes   no    no
learner.max_oversampling       yes   no    no
learner.policy_lr              yes   no    no
learner.critic_lr              yes   no    no
learner.warmup_steps           yes   no    no
learner.critic_warmup_steps    yes   no    no
learner.weight_decay           yes   no    no
learner.adam_betas             yes   yes   no
learner.max_grad_norm          yes   yes   no
learner.kl_beta                yes   no    no
learner.kl_in                  yes   no    no
learner.kl_estimator           yes   no    no
learner.gamma                  yes   no    no
learner.gae_lambda             yes   no    no
learner.ratio_clip             yes   no    no
learner.ratio_clip_high        yes   no    no
learner.dual_clip              yes   no    no
learner.sequence_clip          yes   no    no
learner.value_clip             yes   no    no
learner.value_weight           yes   no    no
learner.correction             yes   no    no
learner.correction_cap         yes   no    no
learner.correction_floor       yes   no    no
learner.mismatch_alarm         no    no    no
learner.max_nonfinite_steps    no    no    no
learner.cpu_products           bits  bits  no
learner.gradient_checkpointing bits  bits  no
learner.lora                   yes   yes   no
learner.start_timeout_s        no    no    no
learner.silence_s              no    no    no
learner.step_timeout_s         no    no    no
learner.restarts               no    no    no
learner.resources.num_cpus     no    no    no
learner.resources.num_gpus     no    no    no
learner.resources.custom       no    no    no
learner.lora.rank              yes   yes   no
learner.lora.alpha             yes   yes   no
learner.lora.targets           yes   yes   no
learner.lora.dropout           yes   yes   no
weights.transport              no    no    no
weights.on_update              yes   no    no
weights.bucket_mib             no    no    no
weights.deadline_s             no    no    no
weights.probe_tolerance        no    no    no
train.steps                    bits  no    no    arms
train.max_staleness            yes   no    no
train.checkpoint_every         no    no    no
train.keep_checkpoints         no    no    no
train.checkpoint_in_background no    no    no
train.save_hf_every            no    no    no
train.detailed_samples         no    no    no
train.stall_s                  no    no    no
train.trace                    no    no    no
train.report_every_s           no    no    no
train.wandb_project            no    no    no
train.mlflow_experiment        no    no    no
sft.phases                     no    yes   no
sft.batch_samples              no    yes   no
sft.microbatch_samples         no    bits  no
sft.packing                    no    bits  no
sft.learning_rate              no    yes   no
sft.epochs                     no    yes   no
sft.warmup_epochs              no    yes   no
sft.weight_decay               no    yes   no
sft.heldout_samples            no    no    no
sft.checkpoint_every           no    no    no
sft.phases.steps               no    yes   no
sft.phases.learning_rate       no    yes   no
sft.phases.max_conditionals    no    yes   no
sft.phases.warmup_steps        no    yes   no
evaluation.samples_per_problem no    no    yes
evaluation.temperature         no    no    yes
evaluation.top_p               no    no    yes
evaluation.k                   no    no    yes
evaluation.every               bits  no    no
evaluation.during              bits  no    no
evaluation.gap_alarm           no    no    no
hardware.gpu                   no    no    no
hardware.tflops                no    no    no
hardware.memory_gb_s           no    no    no
hardware.link_gb_s             no    no    no
hardware.gpus_per_node         no    no    no
hardware.network_gb_s          no    no    no
hardware.disk_gb_s             no    no    no
hardware.mfu                   no    no    no
hardware.prompt_tokens         no    no    no
hardware.completion_tokens     no    no    no
hardware.judge_s               no    no    no
"""


def test_the_table_of_what_counts() -> None:
    rows = []
    for key in (key for table in keys.tables() for key in table.keys):
        parts = (part.value for part in (key.counts.train, key.counts.sft, key.counts.evaluation))
        train, sft, evaluation = parts
        arms = "arms" if key.counts.every_arm else ""
        rows.append(f"{key.path:30} {train:5} {sft:5} {evaluation:5} {arms}".rstrip())
    assert rows == TABLE.strip().splitlines()


def test_every_key_of_a_config_is_in_the_table() -> None:
    known = {line.split()[0] for line in TABLE.strip().splitlines()}
    plain = {"name": "n", "problems": {"train": "t", "heldout": "h"}}
    whole = RunConfig.model_validate(plain | {"model": {"tiny": {}, "max_tokens": 2048}})
    assert keys.values(whole).keys() <= known


def test_a_key_that_says_nothing_counts_for_everything() -> None:
    class New(Section):
        forgotten: int = 1
        declared: Annotated[int, NOTHING] = 1

    (table,) = keys.tables(New)
    assert [key.counts for key in table.keys] == [EVERYTHING, NOTHING]
    questions = (fixed_for_train, fixed_for_sft, fixed_for_evaluations, fixed_for_arms)
    assert all(asked(EVERYTHING) and not asked(NOTHING) for asked in questions)
    assert kept_with_trained(EVERYTHING)
    assert kept_with_untrained(EVERYTHING)


def test_a_section_says_itself_what_its_keys_count_for_and_not_the_field_that_holds_it() -> None:
    for section in {table.section for table in keys.tables()}:
        for name, field in section.model_fields.items():
            holds_a_section = keys.section_in(field.annotation) is not None
            said = any(isinstance(each, Counts) for each in field.metadata)
            assert not (holds_a_section and said), f"{section.__name__}.{name} would not be heard"


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("actors.resources.custom.fast_node", NOTHING),
        ("model.shape.heads", NOTHING),
        ("a.key.of.another.version", EVERYTHING),
    ],
)
def test_a_name_of_the_users_counts_as_its_table_and_an_unknown_key_for_everything(
    path: str, counts: Counts
) -> None:
    assert keys.counts(path) == counts


def test_a_key_that_one_side_lacks_counts_as_having_had_its_default() -> None:
    assert keys.differences({}, {"learner.kl_beta": 0.05}, fixed_for_train) == []
    (different,) = keys.differences({"learner.kl_beta": 0.1}, {}, fixed_for_train)
    assert str(different) == "learner.kl_beta = 0.1 there, 0.05 here"


def test_a_section_that_one_side_lacks_differs_even_where_its_keys_are_defaults() -> None:
    tiny = {"model.tiny.heads": 4, "model.tiny.kv_heads": 4}
    assert list(map(str, keys.differences({"model.tiny": None}, tiny, fixed_for_train))) == [
        "model.tiny.heads = None there, 4 here",
        "model.tiny.kv_heads = None there, 4 here",
    ]


def test_a_key_that_does_not_count_is_not_compared() -> None:
    there, here = {"gpu_memory_gib": 24.0, "weights.bucket_mib": 1}, {"gpu_memory_gib": 80.0}
    assert keys.differences(there, here, kept_with_trained) == []
