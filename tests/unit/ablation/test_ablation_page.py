"""What is written from results: tables, figures, the part of a page."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from ablation_cases import ABLATION, evaluation, load, made, some_results

from stepcoder_dist.ablation import page
from stepcoder_dist.ablation.plan import Plan
from stepcoder_dist.ablation.svg_chart import Line, chart
from stepcoder_dist.errors import ConfigError

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return load(tmp_path)


def write(plan: Plan) -> str:
    page.write(plan, {"plain": some_results(plan)})
    return plan.page.read_text()


def rows(text: str, first: str) -> list[list[str]]:
    """Cells of the table rows that begin with this."""
    lines = [line for line in text.splitlines() if line.startswith(f"| {first}")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_scores_are_those_of_the_last_step_by_level(plan: Plan):
    text = write(plan)
    head = "| arm | seeds | introductory (2) | interview (1) | competition (1) | all (4) |"
    assert head in text
    sft, a, b = (rows(text, name)[0] for name in ("sft", "a ", "b "))
    assert [cell.partition(" ")[0] for cell in sft[2:]] == ["50.0", "0.0", "0.0", "25.0"]
    assert [cell.partition(" ")[0] for cell in a[1:]] == ["2", "100.0", "0.0", "0.0", "50.0"]
    assert [cell.partition(" ")[0] for cell in b[1:]] == ["2", "100.0", "100.0", "0.0", "75.0"]


def test_programs_that_weak_tests_pass_and_held_out_ones_refuse_are_counted(plan: Plan):
    text = write(plan)
    # arm a: weak tests pass 4 of 4, held-out ones 2 of them; SFT 2 and 1; arm b 3 and 3
    assert [rows(text, name)[1][1:3] for name in ("sft", "a ", "b ")] == [
        ["50.0", "50.0"],
        ["100.0", "50.0"],
        ["75.0", "0.0"],
    ]


def test_training_is_told_by_its_last_step_and_by_when_the_level_was_reached(plan: Plan):
    text = write(plan)
    assert rows(text, "a ")[1][3:] == ["0.50", "0.800", "0.250", "160 (2 of 2)", "60"]
    assert rows(text, "b ")[1][6] == "80 (2 of 2)"
    assert rows(text, "sft")[1][3:7] == ["–", "–", "–", "–"]


def test_arms_are_compared_pair_by_pair(plan: Plan):
    (pair,) = rows(write(plan), "b over a")
    assert pair[1] == "2"
    assert pair[2].startswith("+25.0 (")
    # the same gain with both seeds; one problem gains, none loses: 2 · ½
    assert pair[3:] == ["2 / 0", "1 / 0", "–", "1.000", "1.000"]


def test_a_grid_has_a_table_with_its_last_axis_across(tmp_path: Path):
    grid = """
    [[grid]]
    key = "curriculum.kind"
    values = ["none", "adaback"]
    [[grid]]
    key = "credit.rule"
    values = ["all", "rltf"]
    """
    plan = load(tmp_path, ABLATION + grid)
    results = [made("none-all", 0, evaluation(5, (1, 0, 0, 0)))]
    page.write(plan, {"plain": [*some_results(plan), *results]})
    text = plan.page.read_text()
    assert "| curriculum.kind | all | rltf |" in text
    ((_, every, rltf),) = rows(text, "none |")
    assert (every.partition(" ")[0], rltf) == ("25.0", "–")
    assert not rows(text, "adaback |")


def test_two_seeds_that_get_there_at_different_times_have_the_median_between_them(plan: Plan):
    early = evaluation(5, (1, 1, 0, 0)), evaluation(10, (1, 1, 0, 0))
    late = evaluation(5, (1, 0, 0, 0)), evaluation(10, (1, 1, 0, 0))
    never = evaluation(5, (1, 0, 0, 0)), evaluation(10, (1, 0, 0, 0))
    results = [
        made("a", 0, *early),
        made("a", 1, *late),
        made("b", 0, *early),
        made("b", 1, *never),
    ]
    page.write(plan, {"plain": results})
    text = plan.page.read_text()
    assert rows(text, "a ")[1][6] == "120 (2 of 2)"
    assert rows(text, "b ")[1][6] == "not reached (1 of 2)"


def test_a_pair_is_adjusted_for_those_that_are_still_to_be_measured(tmp_path: Path):
    pairs = ABLATION.replace("reach = 0.5", 'reach = 0.5\ncompare = [["sft", "a"], ["a", "b"]]')
    plan = load(tmp_path, pairs)
    problems = (0, 0, 0, 0)
    solved = [(1, 1, 1, 1), (1, 1, 1, 0)]
    a = (made("a", seed, evaluation(10, each)) for seed, each in enumerate(solved))
    results = [made("sft", None, evaluation(0, problems)), *a]
    page.write(plan, {"plain": results})
    (pair,) = rows(plan.page.read_text(), "a over sft")
    # seeds: t = 7 of one degree of freedom, 1 − 2 arctan(7) / π; four problems of four: 2 / 2⁴;
    # twice the larger for two pairs
    assert pair[5:] == ["0.090", "0.125", "0.250"]


def test_a_setting_without_results_says_so(plan: Plan):
    assert "## Setting: short\n\nNothing measured yet." in write(plan)


def test_commands_commit_and_machine_are_on_the_page(plan: Plan):
    text = write(plan)
    assert f"stepcoder ablate {plan.source} --setting plain --arm a --seed 0 --check" in text
    assert "5 of 10 cells, 0.1 hours in all" in text
    assert "* commit: `0123456789ab`" in text
    assert "* processor: a processor, 2 cores" in text
    assert "* versions: Python 3.11.2, torch 2.13.0+cpu" in text


def test_the_same_results_give_the_same_page_and_figures(plan: Plan):
    first = write(plan)
    files = {path: path.read_bytes() for path in plan.out.iterdir()}
    assert write(plan) == first
    assert {path: path.read_bytes() for path in plan.out.iterdir()} == files
    assert {path.suffix for path in files} == {".md", ".svg"}


def test_every_figure_is_linked_and_is_xml_with_a_line_an_arm(plan: Plan):
    text = write(plan)
    figures = sorted(path.name for path in plan.out.glob("*.svg"))
    assert figures == [
        "plain-entropy.svg",
        "plain-held-out.svg",
        "plain-kept_share.svg",
        "plain-mean_stage.svg",
        "plain-reward.svg",
        "plain-whole_pass_rate.svg",
    ]
    for name in figures:
        assert f"]({name})" in text
        names = [each.text for each in ET.parse(plan.out / name).iter(f"{SVG}text")]
        assert names[-2:] == ["a", "b"]


def test_the_part_between_the_markers_is_replaced_and_the_rest_stays(plan: Plan):
    plan.page.parent.mkdir(parents=True)
    plan.page.write_text(f"# Mine\n\nBefore.\n\n{page.BEGIN}\nstale part\n{page.END}\n\nAfter.\n")
    text = write(plan)
    assert text.startswith(f"# Mine\n\nBefore.\n\n{page.BEGIN}\n")
    assert text.endswith(f"{page.END}\n\nAfter.\n")
    assert "stale part" not in text


def test_a_page_without_markers_gets_the_part_at_its_end(plan: Plan):
    plan.page.parent.mkdir(parents=True)
    plan.page.write_text("# Mine\n")
    text = write(plan)
    assert text.startswith(f"# Mine\n\n{page.BEGIN}\n")
    assert text.endswith(f"{page.END}\n")


def test_a_page_with_one_marker_is_refused_and_left_as_it_is(plan: Plan):
    plan.page.parent.mkdir(parents=True)
    plan.page.write_text(f"# Mine\n{page.BEGIN}\n")
    with pytest.raises(ConfigError, match="only one of the two markers"):
        write(plan)
    assert plan.page.read_text() == f"# Mine\n{page.BEGIN}\n"


def test_a_chart_says_its_names_as_text_and_draws_a_single_point():
    line = Line(name="a<$b$", x=[1], y=[0.5], low=[0.25], high=[0.75])
    tree = ET.fromstring(chart("T & T", "x", [line], percent=True))
    texts = [each.text for each in tree.iter(f"{SVG}text")]
    assert {"T & T", "x", "a<$b$", "50%"} <= set(texts)
    dots = [use for use in tree.iter(f"{SVG}use") if "stroke:" in use.get("style", "")]
    assert len(dots) == 2  # in the frame and beside its name


def test_a_chart_has_no_date_and_no_random_name():
    lines = [Line(name="a", x=[1, 2], y=[3, 4], low=[3, 4], high=[3, 4])]
    assert chart("t", "x", lines, percent=False) == chart("t", "x", lines, percent=False)
    assert "date" not in chart("t", "x", lines, percent=False)
