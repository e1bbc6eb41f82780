"""Ablation files: what cells follow, and which mistakes are refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import shipped_files
from ablation_cases import ABLATION, RUN, load

from stepcoder_dist.ablation import plan as plans
from stepcoder_dist.errors import ConfigError


def test_every_setting_has_the_untrained_model_once_and_every_arm_with_every_seed(tmp_path: Path):
    plan = load(tmp_path)
    assert [str(cell) for cell in plan.cells] == [
        "plain / sft",
        "plain / a / seed 0",
        "plain / a / seed 1",
        "plain / b / seed 0",
        "plain / b / seed 1",
        "short / sft",
        "short / a / seed 0",
        "short / a / seed 1",
        "short / b / seed 0",
        "short / b / seed 1",
    ]
    assert plan.cells[2].path == tmp_path / "out/plain/a-seed1.json"
    assert plan.cells[0].path == tmp_path / "out/plain/sft.json"


def test_a_cells_config_is_the_run_file_with_its_settings_and_its_arms_keys_and_its_seed(
    tmp_path: Path,
):
    cell = load(tmp_path).select("short", "a", 1)[0]
    config = cell.config
    assert (config.train.steps, config.curriculum.kind, config.seed) == (5, "none", 1)
    assert cell.selection == ["--setting", "short", "--arm", "a", "--seed", "1"]


def test_the_paths_of_an_ablation_file_may_begin_with_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    written = 'run = "~/base.toml"\npage = "~/page.md"'
    text = ABLATION.replace('run = "base.toml"', written)
    text = text.replace('name = "short"', 'name = "short"\nweak_tests = "~/weak.jsonl"')
    plan = load(tmp_path, text)
    assert plan.page == tmp_path / "page.md"
    assert plan.cells[-1].setting.weak_tests == f"{tmp_path}/weak.jsonl"


def test_a_selection_leaves_only_what_was_asked_for(tmp_path: Path):
    plan = load(tmp_path)
    assert len(plan.select(arm="b")) == 4
    assert len(plan.select("plain", seed=0)) == 2
    assert [str(cell) for cell in plan.select("plain", "sft")] == ["plain / sft"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"setting": "x"}, "no setting x; there are plain, short"),
        ({"arm": "c"}, "no arm c; there are sft, a, b"),
        ({"seed": 7}, "no seed 7; there are 0, 1"),
        ({"arm": "sft", "seed": 0}, "--arm sft has no seed: it is not trained; leave --seed out"),
    ],
)
def test_a_selection_of_what_is_not_there_is_refused(
    tmp_path: Path, asked: dict[str, object], message: str
):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path).select(**asked)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("seeds = [0, 1]", "seeds = [0, 0]", "two.toml: seeds has 0 twice; remove one"),
        ("seeds = [0, 1]", "", "two.toml: seeds is missing; add it"),
        ("seeds = [0, 1]", 'seeds = ["0"]', "two.toml: seeds.0 = '0': input should be a valid int"),
        ('name = "b"', 'name = "a"', "two.toml: arms has a twice; remove one"),
        ('name = "b"', 'name = "sft"', "two.toml: the arm sft is always there"),
        ('name = "short"', 'name = "plain"', "two.toml: settings has plain twice; remove one"),
        ('name = "b"', 'name = "b"\nsets = []', "two.toml: unknown key arms.1.sets; remove it"),
        (
            'name = "b"',
            'name = "b"\nset = ["train.stops=5"]',
            "two.toml: plain / b: .*base.toml: unknown key train.stops",
        ),
        (
            'name = "b"',
            'name = "b"\nset = ["train.steps=20"]',
            "two.toml: plain / b: train.steps = 20, and 10 for the others; an arm may not change",
        ),
        (
            'name = "b"',
            'name = "b"\nset = ["sampling.max_new_tokens=512"]',
            "plain / b: sampling.max_new_tokens = 512, and 1024 for the others",
        ),
        (
            'name = "b"',
            'name = "b"\nset = ["sandbox.cpu_limit_s=1"]',
            "plain / b: sandbox.cpu_limit_s = 1.0, and 4.0 for the others",
        ),
        (
            "reach = 0.5",
            'compare = [["a", "c"]]',
            "two.toml: compare names c, which is no arm; there are sft, a, b",
        ),
        (
            'name = "short"',
            'name = "short"\narms = ["c"]',
            "two.toml: arms of setting short names c, which is no arm; there are sft, a, b",
        ),
        (
            'name = "short"',
            'name = "short"\nseeds = [0, 7]',
            "two.toml: seeds of setting short has 7, which is not among the file's seeds",
        ),
        ('run = "base.toml"', 'run = "none.toml"', "two.toml: plain / sft: .*no such run file"),
        ("seeds = [0, 1]", "seeds = []", "two.toml: seeds is empty; give at least one"),
        ("reach = 0.5", "reach = [", "two.toml: not valid TOML"),
    ],
)
def test_a_mistake_in_the_file_is_told_in_one_line(
    tmp_path: Path, before: str, after: str, message: str
):
    assert before in ABLATION
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, ABLATION.replace(before, after))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_told_with_the_one_that_ships(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no such ablation file; deploy/runs/ablation\.toml"):
        plans.load(tmp_path / "none.toml")


def test_a_run_file_in_its_place_is_told_apart(tmp_path: Path):
    load(tmp_path)
    with pytest.raises(ConfigError, match=r"base\.toml: a run file, and an ablation"):
        plans.load(tmp_path / "base.toml")


def test_without_settings_there_is_one_and_without_pairs_every_two_arms_are_compared(
    tmp_path: Path,
):
    text = ABLATION.partition("[[settings]]")[0] + ABLATION[ABLATION.index("[[arms]]") :]
    plan = load(tmp_path, text + '[[arms]]\nname = "c"\n')
    assert {cell.setting.name for cell in plan.cells} == {"main"}
    assert plan.pairs("main") == (("a", "b"), ("a", "c"), ("b", "c"))


ONLY_B = ABLATION.replace('name = "short"', 'name = "short"\narms = ["b"]')


def test_a_setting_can_name_its_arms_and_compares_those_only(tmp_path: Path):
    plan = load(tmp_path, ONLY_B.replace("reach", 'compare = [["sft", "b"], ["a", "b"]]\nreach'))
    assert [str(cell) for cell in plan.select("short")] == [
        "short / sft",
        "short / b / seed 0",
        "short / b / seed 1",
    ]
    assert len(plan.select("plain")) == 5
    assert plan.pairs("plain") == (("sft", "b"), ("a", "b"))
    assert plan.pairs("short") == (("sft", "b"),)
    with pytest.raises(ConfigError, match="short leaves out a; add it to its arms"):
        plan.select("short", "a")


def test_a_setting_can_name_its_seeds(tmp_path: Path):
    plan = load(tmp_path, ABLATION.replace('name = "short"', 'name = "short"\nseeds = [1]'))
    assert [str(cell) for cell in plan.select("short")] == [
        "short / sft",
        "short / a / seed 1",
        "short / b / seed 1",
    ]
    assert len(plan.select("plain")) == 5
    with pytest.raises(ConfigError, match="short leaves out seed 0; add it to its arms, or to its"):
        plan.select("short", seed=0)


def test_a_broken_run_file_is_told_for_the_first_cell_that_needs_it(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"plain / sft: .*base\.toml: train\.steps = -1"):
        load(tmp_path, run=RUN.replace("steps = 10", "steps = -1"))


def test_the_shipped_file_holds_as_many_samples_for_every_arm_of_a_setting():
    plan = plans.load(shipped_files.ABLATION)
    for setting in plan.file.settings:
        cells = [cell for cell in plan.select(setting.name) if cell.seed is not None]
        assert len({cell.config.derived()["samples_in_run"] for cell in cells}) == 1


GRID = """
[[grid]]
key = "curriculum.kind"
values = ["none", "adaback"]
[[grid]]
key = "credit.rule"
values = ["all", "suspicion"]
"""


def test_a_grid_is_an_arm_for_every_combination_after_those_that_are_named(tmp_path: Path):
    plan = load(tmp_path, ABLATION + GRID)
    assert plan.arms[3:] == ("none-all", "none-suspicion", "adaback-all", "adaback-suspicion")
    config = plan.select("plain", "adaback-suspicion", 1)[0].config
    assert (config.curriculum.kind, config.credit.rule, config.seed) == ("adaback", "suspicion", 1)
    alone = load(tmp_path / "alone", ABLATION[: ABLATION.index("[[arms]]")] + GRID)
    assert alone.arms == ("sft", "none-all", "none-suspicion", "adaback-all", "adaback-suspicion")


def test_a_grid_of_a_rule_that_there_is_not_is_refused_with_the_arm(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"plain / none-none: .*credit.rule = 'none'"):
        load(tmp_path, ABLATION + GRID.replace('"suspicion"', '"none"'))


def test_a_grid_of_values_that_make_no_name_is_one_line(tmp_path: Path):
    with pytest.raises(ConfigError, match=r": grid: .* not 'none-a/b'; write") as told:
        load(tmp_path, ABLATION + GRID.replace('"suspicion"', '"a/b"'))
    assert "\n" not in str(told.value)


def test_the_shipped_table_of_rules_resolves() -> None:
    plan = plans.load(shipped_files.ABLATION_OF_RULES)
    assert len(plan.arms) == 1 + 3 + 5 * 5 * 2
    assert plan.pairs("sparse") == plan.file.compare


def test_the_shipped_sparse_case_resolves() -> None:
    plan = plans.load(shipped_files.ABLATION_SPARSE)
    assert plan.arms[0] == "sft"
    assert plan.pairs("five") == plan.file.compare
    assert all({first, second} <= set(plan.arms) for first, second in plan.file.compare)
