"""Run files: what is refused, in one line with the key and the way to fix it."""

# ruff: noqa: E501  # tables of messages, one a line

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError
from shipped_files import RUN_FILES

from stepcoder_dist.config import (
    LearnerConfig,
    RunConfig,
    SamplingConfig,
    TrainConfig,
)
from stepcoder_dist.errors import ConfigError, UserError
from stepcoder_dist.run.run_file import describe, document, load

SMALLEST = """\
name = "small"

[model]
path = "some/model"

[problems]
train = "train.jsonl"
heldout = "heldout.jsonl"
"""


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(SMALLEST)
    return path


def refusal(path: Path, *overrides: str) -> str:
    """The one message that `load` refuses with."""
    with pytest.raises(ConfigError) as error:
        load(path, overrides)
    return str(error.value)


def test_every_path_of_a_run_file_may_begin_with_the_home_folder(
    run_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    written = SMALLEST
    for name in ("some/model", "train.jsonl", "heldout.jsonl"):
        written = written.replace(f'"{name}', f'"~/{name}')
    run_file.write_text(written)
    paths = [
        "run_dir=~/runs/x",
        "model.sft_path=~/sft",
        "problems.sft=~/a.jsonl",
        "problems.sft_heldout=~/b",
    ]
    config = load(run_file, paths)
    assert config.run_dir == "/home/ada/runs/x"
    assert (config.model.path, config.model.sft_path) == ("/home/ada/some/model", "/home/ada/sft")
    assert (config.problems.train, config.problems.heldout) == (
        "/home/ada/train.jsonl",
        "/home/ada/heldout.jsonl",
    )
    assert (config.problems.sft, config.problems.sft_heldout) == (
        "/home/ada/a.jsonl",
        "/home/ada/b",
    )


def test_a_path_without_the_home_folder_stays_as_it_was_written(run_file: Path) -> None:
    config = load(
        run_file,
        ["run_dir=runs/../x", "problems.train=ladder:train?count=2", "model.path=org/model"],
    )
    assert config.run_dir == "runs/../x"
    assert config.problems.train == "ladder:train?count=2"
    assert config.model.path == "org/model"


def test_the_smallest_run_file_takes_the_papers_values(run_file: Path) -> None:
    config = load(run_file)
    assert (config.sampling.samples_per_problem, config.sampling.temperature) == (16, 0.8)
    assert (config.sampling.top_p, config.sampling.max_new_tokens) == (0.9, 1024)
    assert (config.learner.policy_lr, config.learner.critic_lr) == (5e-7, 1.5e-6)
    assert (config.learner.kl_beta, config.learner.gamma) == (0.05, 1.0)
    assert (config.learner.gae_lambda, config.learner.ratio_clip) == (0.95, 0.2)
    assert config.reward.kind == "tiered"
    assert config.method == "stepcoder"
    assert config.choices == {
        "curriculum.kind": "cccs",
        "credit.rule": "executed",
        "learner.advantage": "gae",
        "learner.loss": "ppo",
        "learner.normaliser": "kept_tokens",
        "learner.kl_in": "auto",
        "learner.selection": "all",
        "learner.flat_groups": "train",
    }
    limits = config.sandbox.limits
    assert (limits.cpu_s, limits.wall_s) == (4.0, 10.0)
    assert (limits.memory_bytes, limits.output_bytes) == (512 * 2**20, 16 * 2**20)


@pytest.mark.parametrize("path", RUN_FILES, ids=str)
def test_every_shipped_run_file_loads(path: Path) -> None:
    assert load(path).name


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("sandbox.containers=99999999", "sandbox.containers = 99999999: input should be less than or equal to 1024"),
        ("learner.sample_per_step=64", "unknown key learner.sample_per_step; remove it or check its spelling (docs/config.md)"),
        ("optimizer.lr=1", "unknown key optimizer; remove it or check its spelling (docs/config.md)"),
        # mistyped values are refused, not guessed at
        ('learner.samples_per_step="64"', "learner.samples_per_step = '64': input should be a valid integer"),
        ("learner.samples_per_step=64.0", "learner.samples_per_step = 64.0: input should be a valid integer"),
        ("learner.samples_per_step=many", "learner.samples_per_step = 'many': input should be a valid integer"),
        ("learner.zero_stage=true", "learner.zero_stage = True: input should be a valid integer"),
        ("dashboard=1", "dashboard = 1: input should be a valid boolean"),
        ("name=5", "name = 5: input should be a valid string"),
        ("name=", "name = '': string should match pattern '^[A-Za-z0-9][A-Za-z0-9._-]*$'"),
        ("name=a/b", "name = 'a/b': string should match pattern '^[A-Za-z0-9][A-Za-z0-9._-]*$'"),
        ("credit.comments=drop", "credit.comments = 'drop': input should be 'block', 'keep' or 'mask'"),
        ("learner=3", "learner = 3: should be a section of keys"),
        ("sft.phases=3", "sft.phases = 3: should be an array, such as [1, 2]"),
        ("actors.resources.custom=3", "actors.resources.custom = 3: should be a table, such as { a = 1 }"),
        ("evaluation.k=[1, true]", "evaluation.k.1 = True: input should be a valid integer"),
        ("sft.phases=[{steps = 5}]", "sft.phases.0.learning_rate is missing; add it"),
        # out of range
        ("learner.zero_stage=4", "learner.zero_stage = 4: input should be less than or equal to 3"),
        ("curriculum.alpha=0", "curriculum.alpha = 0: input should be greater than 0"),
        ("curriculum.threshold=1", "curriculum.threshold = 1: input should be less than 1"),
        ("sampling.temperature=0", "sampling.temperature = 0: input should be greater than 0"),
        ("learner.policy_lr=inf", "learner.policy_lr = inf: input should be a finite number"),
        ("problems.limit=0", "problems.limit = 0: input should be greater than 0"),
        ("actors.resources.custom={a = -1}", "actors.resources.custom.a = -1: input should be greater than 0"),
        ("learner.adam_betas=[0.9, 1.0]", "learner.adam_betas.1 = 1.0: input should be less than 1"),
        # batches that do not divide
        ("learner.samples_per_step=99999999999999999999", "learner.minibatch_samples = 64 does not divide samples_per_step = 99999999999999999999; use 33 or 41"),
        ("learner.minibatch_samples=6", "learner.minibatch_samples = 6 does not divide samples_per_step = 64; use 4 or 8"),
        ("learner.minibatch_samples=128", "learner.minibatch_samples = 128 does not divide samples_per_step = 64; use 32 or 64"),
        ("learner.deepspeed.gradient_clipping=2", "learner.deepspeed.gradient_clipping = 2 is decided by learner.max_grad_norm; leave it out"),
        ("learner.deepspeed.zero_optimization.stage=1", "learner.deepspeed.zero_optimization.stage = 1 is decided by learner.zero_stage; leave it out"),
        ("learner.resources.num_gpus=2", "learner.resources.num_gpus = 2 of a learner rank, which computes on one GPU; set it to 1 and raise ranks"),
        ("sandbox.autoscale=true", "sandbox.autoscale = true needs max: how far the pool may grow"),
        ("sandbox.min=3", "sandbox.number = 1 is not within min = 3; the pool starts with number"),
        ("actors={number=4,max=2}", "actors.number = 4 is not within min = 1 and max = 2; the pool starts with number"),
        ("actors={autoscale=true,max=2}", "actors.autoscale = true follows who waits for whom, and with train.max_staleness = 0 rollout actors and learner take turns; set it to 1 or more, or scale by hand (`stepcoder scale`)"),
        ("learner.resources.num_gpus=0.5", "learner.resources.num_gpus = 0.5 shares a GPU with other processes; set colocate = true, or reserve entire GPUs"),
        ("learner.offload_while_sampling=true", "learner.offload_while_sampling leaves room to an actor on the same GPU, and colocate is false; leave it out"),
        ("sampling.samples_per_problem=7", "sampling.samples_per_problem = 7 does not divide learner.samples_per_step = 64; use 4 or 8"),
        # parts that do not fit together
        ("model.path=", "model: needs either path or [model.tiny], and has neither; give one"),
        ("model.tiny.layers=2", "model: needs either path or [model.tiny], and has both; give one"),
        ("prompt.template=Solve it.", "prompt.template = 'Solve it.' lacks {statement}; put it where the task belongs"),
        ("prompt.system=Be brief.", "prompt.system = 'Be brief.' is of a chat, and style = \"plain\"; set style = \"chat\" or leave it out"),
        ("sandbox.cpu_limit_s=20", "sandbox.wall_limit_s = 10.0 is below cpu_limit_s = 20.0; raise it: wall time is the back-stop"),
        ("sandbox.coverage=false", 'sandbox.coverage = false records no executed lines, and credit.rule = "executed" is made from them; set it to true, or the rule to "all"'),
        ("evaluation.k=[1, 5]", "evaluation.k = 5 needs at least that many samples_per_problem, which is 1; raise it or drop that k"),
        ("model.max_tokens=1024", "sampling.max_new_tokens = 1024 leaves no room for a prompt in model.max_tokens = 1024; lower it"),
        ("weights.transport=nccl", 'weights.transport = "nccl" needs GPUs on both sides, but actors.resources.num_gpus = 0; use "object_store"'),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_the_file_the_key_and_the_fix(
    run_file: Path, override: str, line: str
) -> None:
    assert refusal(run_file, override) == f"{run_file}: {line}"


@pytest.mark.parametrize(
    ("tiny", "line"),
    [
        ("hidden_size=100", "model.tiny.hidden_size = 100 over heads = 4 gives a head of 25; vLLM's CPU attention knows 32, 64, 80, 96, 112, 128, 160, 192, 224, 256"),
        ("heads=3", "model.tiny.heads = 3 does not divide hidden_size = 128; use 2 or 4"),
        ("kv_heads=3", "model.tiny.kv_heads = 3 does not divide heads = 4; use 2 or 4"),
        ("max_positions=512", "model.max_tokens = 2048 is above tiny.max_positions = 512; lower it"),
    ],
)  # fmt: skip
def test_a_tiny_model_that_vllm_could_not_run_is_refused(
    run_file: Path, tiny: str, line: str
) -> None:
    assert refusal(run_file, "model.path=", f"model.tiny.{tiny}") == f"{run_file}: {line}"


def test_a_run_that_repeats_bit_for_bit_does_not_resize_itself(run_file: Path) -> None:
    asked = ("deterministic=true", "train.max_staleness=1", "actors={autoscale=true,max=2}")
    assert refusal(run_file, *asked) == (
        f"{run_file}: actors.autoscale = true resizes the pool by what a clock measures, and "
        "deterministic = true repeats a run bit for bit; set one of them to false"
    )


def test_heads_have_to_divide_over_the_gpus_of_an_engine(run_file: Path) -> None:
    tiny = ("model.path=", "model.tiny.heads=4", "model.tiny.kv_heads=2")
    assert refusal(run_file, *tiny, "actors.tensor_parallel=3", "actors.resources.num_gpus=3") == (
        f"{run_file}: actors.tensor_parallel = 3 does not split the model's 4 heads and 2 "
        "key-value heads evenly; choose a divisor of both"
    )


def test_a_template_and_a_task_are_two_wordings(run_file: Path) -> None:
    message = refusal(run_file, "prompt.template={statement}", "prompt.task=mbpp")
    assert message == (
        f"{run_file}: prompt.task = 'mbpp' and a template are two wordings; leave out one "
        "(--set prompt.template=)"
    )


def test_nccl_needs_gpus_for_the_learner_too(run_file: Path) -> None:
    message = refusal(run_file, "weights.transport=nccl", "actors.resources.num_gpus=1")
    assert "learner.resources.num_gpus = 0" in message


def test_several_mistakes_are_one_line_each(run_file: Path) -> None:
    lines = refusal(run_file, "seed=x", "train.steps=0", "train.stepz=3").splitlines()
    assert sorted(lines) == [
        f"{run_file}: seed = 'x': input should be a valid integer",
        f"{run_file}: train.steps = 0: input should be greater than 0",
        f"{run_file}: unknown key train.stepz; remove it or check its spelling (docs/config.md)",
    ]


def test_a_missing_section_and_a_missing_key_are_named(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('name = "x"\n[problems]\ntrain = "t"\n')
    assert refusal(path).splitlines() == [
        f"{path}: model is missing; add it",
        f"{path}: problems.heldout is missing; add it",
    ]


@pytest.mark.parametrize("shown", ["a\nb", "x" * 5000, "é\u2028\x1b[31m"])
def test_a_message_stays_one_short_line_whatever_was_seen(run_file: Path, shown: str) -> None:
    message = refusal(run_file, f"learner.ranks={shown}")
    assert len(message.splitlines()) == 1
    assert len(message) < 250
    assert message.isprintable()


def test_a_missing_file_is_named_with_the_way_to_find_one(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    assert refusal(path) == f"{path}: no such run file; `ls deploy/runs` shows the shipped ones"


def test_a_folder_or_bytes_are_no_run_file(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"{tmp_path}: cannot be read (")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    message = refusal(binary)
    assert message.startswith(f"{binary}: cannot be read (")
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("text", ["name = ", "[model\n", "a = 1\na = 2\n", '"""', "\x00"])
def test_broken_toml_is_one_line_with_its_place(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    message = refusal(path)
    assert message.startswith(f"{path}: not valid TOML: ")
    assert len(message.splitlines()) == 1
    assert "line" in message or "end of document" in message


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000 + "]" * 5000])
def test_what_the_reader_of_toml_gives_up_on_is_one_line(
    run_file: Path, tmp_path: Path, value: str
) -> None:
    path = tmp_path / "large.toml"
    path.write_text(f"seed = {value}\n")
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(
        sys.int_info.default_max_str_digits
    )  # other tests may have lifted it
    try:
        messages = [refusal(path), refusal(run_file, f"seed={value}")]
    finally:
        sys.set_int_max_str_digits(before)
    for message in messages:
        assert "too many digits" in message or "nested too deeply" in message
        assert len(message.splitlines()) == 1
        assert len(message) < 200


def test_a_path_with_a_nul_is_refused_by_its_key(run_file: Path) -> None:
    message = refusal(run_file, 'run_dir="a\\u0000b"')
    assert message == (
        f"{run_file}: run_dir: 'a\\x00b' has a NUL character, which no path has; remove it"
    )


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        ("seed=3", lambda c: c.seed, 3),
        (" seed = 3 ", lambda c: c.seed, 3),
        ("learner.policy_lr=1e-4", lambda c: c.learner.policy_lr, 1e-4),
        ("learner.gamma=1", lambda c: c.learner.gamma, 1.0),
        ("dashboard=false", lambda c: c.dashboard, False),
        ("name=plain-text", lambda c: c.name, "plain-text"),
        ('name="quoted"', lambda c: c.name, "quoted"),
        ('name="5"', lambda c: c.name, "5"),
        ("problems.train=ladder:train?a=1&b=2", lambda c: c.problems.train, "ladder:train?a=1&b=2"),
        ("run_dir=/tmp/a b", lambda c: c.run_dir, "/tmp/a b"),
        ("run_dir=", lambda c: c.run_dir, ""),
        ("actors.resources.num_cpus=0.5", lambda c: c.actors.resources.num_cpus, 0.5),
        ("actors.resources.custom={node = 0.1}", lambda c: c.actors.resources.custom, {"node": 0.1}),
        ("evaluation.samples_per_problem=10", lambda c: c.evaluation.samples_per_problem, 10),
        ("evaluation.k=[1]", lambda c: c.evaluation.k, (1,)),
        ("sft.phases=[{steps = 5, learning_rate = 1e-3}]", lambda c: c.sft.phases[0].steps, 5),
        # a value that is more than one TOML value is text, and so is refused where it is none
        ("run_dir=1\nseed = 9", lambda c: (c.run_dir, c.seed), ("1\nseed = 9", 0)),
    ],
)  # fmt: skip
def test_set_reads_toml_and_else_plain_text(
    run_file: Path, override: str, read: object, value: object
) -> None:
    assert read(load(run_file, [override])) == value  # type: ignore[operator]


def test_a_later_set_wins_over_an_earlier_one_and_over_the_file(run_file: Path) -> None:
    assert load(run_file, ["name=a", "name=b"]).name == "b"


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("seed", "--set seed: not of the form a.b=value"),
        ("", "--set : not of the form a.b=value"),
        ("=1", "--set =1: not of the form a.b=value"),
        ("a..b=1", "--set a..b=1: not of the form a.b=value"),
        (".a=1", "--set .a=1: not of the form a.b=value"),
        ("name.first=1", "--set name.first=1: name is a value, not a section"),
    ],
)
def test_a_set_of_another_form_is_refused(run_file: Path, override: str, line: str) -> None:
    assert refusal(run_file, override) == line


def test_a_config_error_is_the_users_mistake_with_exit_code_2() -> None:
    assert issubclass(ConfigError, UserError)
    assert ConfigError.exit_code == 2


def test_a_config_is_frozen(run_file: Path) -> None:
    with pytest.raises(ValidationError):
        load(run_file).seed = 1  # type: ignore[misc]


def test_derived_batch_sizes_worked_by_hand(run_file: Path) -> None:
    config = load(
        run_file,
        [
            "sampling.samples_per_problem=8",
            "learner.samples_per_step=96",
            "learner.minibatch_samples=48",
            "learner.ranks=2",
            "learner.microbatch_tokens=1000",
            "learner.epochs=3",
            "sandbox.number=3",
            "sandbox.containers=4",
            "train.steps=5",
        ],
    )
    assert config.derived() == {
        "problems_per_step": 12,
        "minibatches_per_epoch": 2,
        "optimizer_updates_per_step": 6,
        "samples_per_rank_and_minibatch": 24,
        "tokens_of_a_pass_without_gradient": 2000,
        "warm_containers": 12,
        "samples_in_run": 480,
    }


sizes = st.integers(1, 48)


@given(group=sizes, step=sizes, minibatch=sizes, ranks=st.integers(1, 6))
def test_a_config_that_is_accepted_spends_every_sample_once_an_epoch(
    group: int, step: int, minibatch: int, ranks: int
) -> None:
    fits = step % minibatch == 0 and step % group == 0
    tree = {
        "name": "x",
        "model": {"path": "m"},
        "problems": {"train": "a", "heldout": "b"},
        "sampling": SamplingConfig(samples_per_problem=group),
        "train": TrainConfig(steps=2),
    }
    learner = {
        "samples_per_step": step,
        "minibatch_samples": minibatch,
        "ranks": ranks,
    }
    if not fits:
        with pytest.raises(ValidationError, match="does not divide"):
            RunConfig.model_validate({**tree, "learner": learner})
        return
    sizes_of_run = RunConfig(**tree, learner=LearnerConfig(**learner)).derived()  # type: ignore[arg-type]
    assert sizes_of_run["problems_per_step"] * group == step
    assert sizes_of_run["minibatches_per_epoch"] * minibatch == step
    most = sizes_of_run["samples_per_rank_and_minibatch"]
    assert (most - 1) * ranks < minibatch <= most * ranks
    assert sizes_of_run["samples_in_run"] == 2 * step


@pytest.mark.parametrize("path", ["small", *RUN_FILES])
def test_the_resolved_config_of_a_run_directory_reads_back_the_same(
    path: str | Path, run_file: Path, tmp_path: Path
) -> None:
    config = load(run_file if path == "small" else path, ["actors.resources.custom={a = 0.5}"])
    resolved = tmp_path / "config.toml"
    resolved.write_text(describe(config))
    assert load(resolved) == config


def test_the_documented_keys_are_the_keys_that_there_are():
    written = (Path(__file__).parents[3] / "docs" / "config.md").read_text(encoding="utf-8")
    assert written == document(), "run `make docs`"
    assert 'One of `"block"`, `"keep"`, `"mask"`. |' in written
    assert "| `limit` | not set | Use the first N problems only. |" in written


def test_every_shipped_run_file_can_be_read():
    assert RUN_FILES
    for path in RUN_FILES:
        load(path)


def test_a_warm_start_learns_its_own_set_or_else_the_training_set(run_file: Path) -> None:
    assert load(run_file).problems.of_warm_start == "train.jsonl"
    assert load(run_file, ["problems.sft=shown.jsonl"]).problems.of_warm_start == "shown.jsonl"


def test_the_sets_that_a_run_file_names_have_their_keys(run_file: Path) -> None:
    assert load(run_file, ["problems.sft_heldout=ladder:heldout"]).problems.named == {
        "problems.train": "train.jsonl",
        "problems.heldout": "heldout.jsonl",
        "problems.sft_heldout": "ladder:heldout",
    }


def test_a_run_file_may_begin_with_the_mark_that_windows_writes(tmp_path: Path):
    path = tmp_path / "bom.toml"
    heldout = "" if "heldout" in SMALLEST else 'heldout = "h.jsonl"\n'
    path.write_text(SMALLEST + heldout, encoding="utf-8-sig")
    assert load(path).name == "small"
