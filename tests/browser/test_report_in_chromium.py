"""The report in headless Chromium, offline: what each section shows is what the run's files say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from chromium_processes import binary, family, left_of
from made_report import make_report
from playwright.sync_api import Browser, Locator, Page, expect
from shown_samples import Rows, a_row, show_sample
from watched_page import Watch

from stepcoder_dist.host.files import file_lock

pytestmark = pytest.mark.chromium


def number(text: str) -> float:
    found = re.search(r"[-−]?\d+(\.\d+)?", text)
    assert found, text
    return float(found[0].replace("−", "-"))


def fates(page: Page) -> str:
    classes = page.locator(".program .row").evaluate_all("rows => rows.map((row) => row.className)")
    return "".join(name.removeprefix("row f-") for name in classes)


def text_once(shown: Locator, pattern: str) -> str:
    """The text of `shown`, waited for until it has the pattern: pages follow a click later."""
    expect(shown).to_have_text(re.compile(pattern))
    return shown.text_content() or ""


# ── nothing but the file ──


def test_the_page_asks_nothing_of_the_network_and_complains_of_nothing(
    page: Page, browser: Browser, tmp_path: Path
):
    for link in page.locator("nav a").all():
        link.click()
    assert page.evaluate("window.pwned") is None
    # the watch itself: a page that breaks each rule is seen to
    other = tmp_path / "other.html"
    other.write_text(
        "<img src='http://127.0.0.1:9/x.png'><script>console.error('said'); throw 'up'</script>"
    )
    with browser.new_context(offline=True) as context:
        watch = Watch(context.new_page(), other)
        watch.page.goto(other.as_uri())
        seen = "\n".join(watch.seen())
    assert "request http://127.0.0.1:9/x.png" in seen
    assert "error: said" in seen
    assert "error: up" in seen


# ── each section ──


def test_all_curves_show_the_step_that_one_of_them_is_pointed_at(page: Page, metrics: Rows):
    entropy = page.get_by_role("slider", name="Entropy", exact=True)
    value = page.locator(".chart", has=entropy).locator(".value")
    box = entropy.bounding_box()
    assert box is not None
    entropy.hover(position={"x": 45, "y": 40})
    expect(value).to_have_text(re.compile("^1: "))
    entropy.hover(position={"x": box["width"] - 12, "y": 40})
    figure = text_once(value, f"^{len(metrics)}: ").partition(": ")[2]
    assert number(figure) == pytest.approx(metrics[-1]["entropy"], abs=0.006)
    charts = page.locator("#curves svg[role=slider]").count()
    assert charts > 4
    expect(page.locator("#curves line.cross")).to_have_count(charts)

    entropy.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(entropy).to_have_attribute("aria-valuenow", "2")
    spoken = entropy.get_attribute("aria-valuetext") or ""
    assert spoken.startswith("step 2: ")
    assert number(spoken.removeprefix("step 2: ")) == pytest.approx(
        metrics[1]["entropy"], abs=0.006
    )


def test_held_out_scores_are_points_joined_by_lines_and_read_out_at_every_step_after_them(
    run_dir: Path, open_page: Callable[..., Page], tmp_path: Path
):
    evaluated = Path(shutil.copytree(run_dir, tmp_path / "run"))
    scores = [(0, 0.25), (4, 0.5), (8, 0.75)]
    rows = [{"step": step, "pass_at_1": score} for step, score in scores]
    (evaluated / "heldout.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = open_page(make_report(evaluated, tmp_path / "page.html"))
    slider = page.get_by_role("slider", name="Held-out pass@1", exact=True)
    chart = page.locator(".chart", has=slider)
    expect(chart.locator(".value")).to_have_text("75%")
    expect(chart.locator("circle.dot")).to_have_count(3)
    path = chart.locator("path.line").get_attribute("d") or ""
    assert (path.count("M"), path.count("L")) == (1, 2)
    page.get_by_label("Moving average").check()
    expect(page.locator("path.raw")).not_to_have_count(0)
    assert chart.locator("path.line").get_attribute("d") == path
    slider.focus()
    page.keyboard.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", "step 0: 25%")
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "step 1: 25%")


def test_the_moving_average_and_the_table_are_a_click_away(page: Page, metrics: Rows):
    assert page.locator("path.raw").count() == 0
    page.get_by_label("Moving average").check()
    for chart in page.locator("#curves svg[role=slider]").all():
        expect(chart.locator("path.raw")).not_to_have_count(0)
    learning = page.locator(".group", has_text="Learning").first
    learning.get_by_text("As a table").click()
    expect(learning.locator("tbody tr")).to_have_count(len(metrics))  # made after the click
    header = learning.locator("thead th").all_text_contents()
    cells = learning.locator("tbody tr").nth(2).locator("th, td").all_text_contents()
    assert number(cells[header.index("reward")]) == pytest.approx(metrics[2]["reward"], abs=0.006)


def test_outcomes_by_step_are_shares_of_the_samples_of_that_step(page: Page, rows: Rows):
    chart = page.get_by_role("slider", name="Outcomes by step")
    chart.focus()
    page.keyboard.press("Home")
    readout = text_once(page.locator("#outcomes .readout"), "^step 1:")
    first = [row["outcome"] for row in rows if row["step"] == 1]
    labels = {
        "passed": "passed",
        "wrong_answer": "wrong answer",
        "compile_error": "does not compile",
    }
    for outcome, label in labels.items():
        (share,) = re.findall(rf"{label} (\d+)", readout)
        assert int(share) == round(100 * first.count(outcome) / len(first))
    heights = chart.locator("rect:not(.cursor)").evaluate_all(
        "bars => bars.map((bar) => [bar.getAttribute('x'), Number(bar.getAttribute('height'))])"
    )
    left = min((x for x, _ in heights), key=float)
    assert sum(height for x, height in heights if x == left) == pytest.approx(200, abs=0.1)


def test_the_curriculum_map_says_the_stage_and_enter_opens_the_samples(page: Page, rows: Rows):
    chart = page.get_by_role("application", name="Curriculum map")
    chart.focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowDown")
    shape = r"(\S+), \w+ · step (\d+): stage (\d)"
    said = text_once(page.locator("#map .readout"), shape)
    found = re.match(shape, said)
    assert found, said
    problem, step = found[1], int(found[2])
    last = [row for row in rows if row["problem_id"] == problem and row["step"] <= step][-1]
    group = [r for r in rows if (r["problem_id"], r["step"]) == (problem, last["step"])]
    assert int(found[3]) == last["stage"]
    passed = sum(row["outcome"] == "passed" for row in group)
    assert said.endswith(f"{passed} of {len(group)} passed")

    page.keyboard.press("Enter")
    of_problem = sum(row["problem_id"] == problem for row in rows)
    expect(page.locator(".option b")).to_have_text([problem] * of_problem)
    expect(page.get_by_role("listbox", name="Samples")).to_be_focused()


def test_the_phase_timeline_is_in_seconds_and_in_shares(page: Page, metrics: Rows):
    page.get_by_role("slider", name="Seconds of each step by phase").focus()
    page.keyboard.press("Home")
    readout = page.locator("#phases .readout")
    said = text_once(readout, "^step 1:")
    (seconds,) = re.findall(r"wait for rollouts ([\d.]+)", said)
    waited = metrics[0]["seconds/wait_for_rollouts"]
    assert float(seconds) == pytest.approx(waited, rel=0.05)
    page.get_by_role("button", name="Share", exact=True).click()
    page.get_by_role("slider", name="Share of each step by phase").focus()
    page.keyboard.press("Home")
    (share,) = re.findall(r"wait for rollouts ([\d.]+)%", text_once(readout, "^step 1:.*%"))
    assert float(share) == pytest.approx(100 * waited / metrics[0]["step_s"], abs=0.6)


# ── timeline, live ──


def test_the_timeline_has_a_row_for_each_pool_and_says_what_a_bar_is(page: Page, run_dir: Path):
    written = [json.loads(line) for line in (run_dir / "trace.jsonl").read_text().splitlines()]
    view = page.locator("#timeline-view")
    page.get_by_role("button", name="1 step", exact=True).click()
    expect(view.locator("svg[role=img] rect.bar")).not_to_have_count(0)
    for label in ("rollouts", "sandbox", "learner", "weights", "rollouts wait", "learner waits"):
        assert view.locator("svg text", has_text=re.compile(f"^{label}$")).count() == 1
    expect(view.locator(".readout")).to_have_text(re.compile("^steps 8 to 8: "))
    bar = view.locator("rect.bar[fill='url(#p-judging)']").last
    bar.hover(force=True)
    expect(view.locator(".readout")).to_have_text(
        re.compile(r"^step 8, [\d.]+ s after its begin: sandbox: judging.*, for [\d.]+ s$")
    )
    view.get_by_text("As a table").click()
    expect(view.locator("tbody tr")).to_have_count(8)
    (begin, end) = next(s[2:4] for s in written[2]["spans"] if s[0] == "driver/steps")
    seconds = view.locator("tbody tr").nth(2).locator("td").first
    assert number(seconds.text_content() or "") == pytest.approx((end - begin) / 1e6, abs=0.006)


def test_the_page_of_a_live_run_reads_itself_again_and_stays_as_its_reader_left_it(
    run_dir: Path, open_page: Callable[..., Page], tmp_path: Path
):
    live = Path(shutil.copytree(run_dir, tmp_path / "run"))
    lock = file_lock.hold(live / ".lock")
    try:
        file = make_report(live, live / "report.html")
        page = open_page(file)
        expect(page.get_by_label("The run is live")).to_be_checked()
        page.get_by_role("button", name="Dark").click()
        page.get_by_role("button", name="Share", exact=True).click()
        page.locator("select[data-key=outcome]").select_option("wrong_answer")
        page.locator(".option").nth(1).click()
        chosen = page.locator("#sample-title").text_content()
        page.locator(".group", has_text="Learning").first.get_by_text("As a table").click()
        page.evaluate("document.getElementById('samples').scrollIntoView()")
        place = page.evaluate("window.scrollY")
        rows = (live / "metrics.jsonl").read_text().splitlines()
        (live / "metrics.jsonl").write_text("\n".join(rows[:7]) + "\n")
        make_report(live, file)
    finally:
        os.close(lock)
    # what the page does by itself when its reader was idle for some seconds
    page.evaluate("document.dispatchEvent(new Event('stepcoder-refresh'))")
    page.wait_for_selector("body[data-restored=yes]")
    expect(page.locator("#run-state")).to_contain_text("7 of 8 steps so far")
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("slider", name="Share of each step by phase")).to_be_visible()
    expect(page.locator("select[data-key=outcome]")).to_have_value("wrong_answer")
    assert page.locator("#sample-title").text_content() == chosen
    expect(page.locator(".group", has_text="Learning").first.locator("tbody tr")).to_have_count(7)
    assert page.evaluate("window.scrollY") == pytest.approx(place, abs=400)
    # the run has ended: the last page stays as it is
    make_report(live, file)
    page.evaluate("document.dispatchEvent(new Event('stepcoder-refresh'))")
    expect(page.get_by_label("The run is live")).to_be_hidden()
    expect(page.locator("#timeline svg[role=img]")).to_be_visible()


# ── samples ──


def test_each_line_of_a_program_shows_its_fate(page: Page, rows: Rows):
    show_sample(page, a_row(rows, 1)["sample_id"])
    # given 1-3; `if n < 0`, its body, `if n > 9` ran; its body never; print; two comments; fence
    assert fates(page) == "gggeeemeffaa"
    assert "</script><script>window.pwned = 1</script>" in page.locator(".program").inner_text()
    assert "‹U+202E›dnoces" in page.locator(".program").inner_text()
    legend = page.locator(".codebar .legend").inner_text()
    for text in ("given (3)", "executed, kept (4)", "not executed, masked (1)"):
        assert text in legend
    show_sample(page, a_row(rows, 4)["sample_id"])
    assert set(fates(page)) == {"g", "u", "a"}
    show_sample(page, a_row(rows, 3)["sample_id"])
    assert set(fates(page)) == {"g", "n", "a"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fates_differ_by_mark_edge_and_ground(
    open_page: Callable[..., Page], rows: Rows, scheme: str
):
    page = open_page(color_scheme=scheme)
    looks: dict[str, tuple[str, ...]] = {}
    for kind in (1, 3, 4):
        show_sample(page, a_row(rows, kind)["sample_id"])
        for fate, *look in page.locator(".program .row").evaluate_all(
            """rows => rows.map((row) => { const style = getComputedStyle(row);
              return [row.className.at(-1), row.querySelector(".mark").textContent,
                style.borderLeftStyle + style.borderLeftColor,
                style.backgroundColor + style.backgroundImage]; })"""
        ):
            looks[fate] = tuple(look)
    told_apart = [looks[fate] for fate in "gemun"]
    for aspect in zip(*told_apart, strict=True):
        assert len(set(aspect)) == 5, aspect


def test_a_token_that_is_pointed_at_tells_its_log_prob_and_whether_it_is_trained(
    page: Page, rows: Rows
):
    show_sample(page, a_row(rows, 1)["sample_id"])
    inspector = page.locator("#inspector")
    page.locator(".program .row").nth(3).locator(".token").first.hover()
    expect(inspector).to_have_text(re.compile("^Token 1 of "))
    expect(inspector).to_contain_text("log-prob −1.000 (p = 37%) · kept")
    expect(inspector).to_contain_text("Line 4: a test executed it.")
    page.locator(".program .row").nth(6).locator(".token").nth(4).hover()
    expect(inspector).to_contain_text("masked: carries no policy loss")
    expect(inspector).to_contain_text("Line 7: no test executed it.")
    page.locator(".program .row").first.locator(".token").first.hover()
    expect(inspector).to_contain_text("it carries no loss")

    page.locator(".program .row").nth(3).locator(".token").first.click()
    page.keyboard.press("ArrowRight")
    expect(inspector).to_have_text(re.compile("^Token 2 of "))
    page.keyboard.press("ArrowDown")
    expect(inspector).to_contain_text("Line 5: ")
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox", name="Samples")).to_be_focused()


# ── pictures ──


def test_its_pictures_fit_a_readme(open_page: Callable[..., Page], pictured: Path, pictures: Path):
    shots = (("curves", "light"), ("map", "light"), ("samples", "dark"))
    for section, scheme in shots:
        page = open_page(pictured, color_scheme=scheme, viewport={"width": 1200, "height": 760})
        page.evaluate("id => document.getElementById(id).scrollIntoView()", section)
        target = pictures / f"report-{section}.png"
        page.screenshot(path=target)
        assert 20_000 < target.stat().st_size < 150_000


def test_a_test_run_that_is_killed_leaves_no_chromium(tmp_path: Path):
    binary()
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                "import pathlib, sys; sys.path.insert(0, sys.argv[1])\n"
                "from chromium_processes import launched\n"
                "with launched(pathlib.Path(sys.argv[2])) as browser:\n"
                "    browser.new_page(); print('open', flush=True); sys.stdin.read()"
            ),
            str(Path(__file__).parent),
            str(tmp_path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        processes = family(tmp_path)
        child.kill()
    assert len(processes) > 1
    assert left_of(processes) == set()
