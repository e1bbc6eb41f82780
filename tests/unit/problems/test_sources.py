"""Where a set may be: folders, tables, the hub's cache, and rows within dates."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import published_rows as made
import pytest

from stepcoder_dist import problems
from stepcoder_dist.errors import MissingEngine, ProblemError
from stepcoder_dist.problems import source

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, *rows: Any) -> Path:
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(lines) if path.suffix == ".gz" else lines)
        return tmp_path / "set"

    return written


def ids(spec: str | Path) -> list[str]:
    return [problem.problem_id for problem in problems.load(spec)]


def test_a_folder_of_data_files_is_one_set_in_the_order_of_their_numbers(write: Write):
    write("test10.jsonl", made.ACECODE | {"id": "c"})
    write("test9.jsonl.gz", made.ACECODE | {"id": "b"})
    write("dataset_info.json", {"features": {}})
    write(".cache/test1.jsonl", made.ACECODE | {"id": "hidden"})
    folder = write("below/test.json", made.ACECODE | {"id": "a"})
    assert ids(folder) == ["acecode/a", "acecode/b", "acecode/c"]
    assert ids(f"{folder}/test*") == ["acecode/b", "acecode/c"]


def test_files_whose_names_are_numbers_have_their_order_however_a_folder_lists_them(
    write: Write, monkeypatch: pytest.MonkeyPatch
):
    names = ["0000.jsonl", "0002.jsonl", "2.jsonl", "0010.jsonl"]
    folders = [write(name, {}) for name in names]
    listed = [folders[0] / name for name in names]
    for order in (listed, listed[::-1]):
        monkeypatch.setattr(Path, "rglob", lambda *_, order=order: iter(order))
        assert [path.name for path in source.data_files(folders[0])] == names


def test_rows_without_ids_are_numbered_through_all_files_of_a_set(write: Write):
    write("a.jsonl", made.TACO, made.TACO)
    folder = write("b.jsonl", made.TACO)
    assert ids(folder) == ["taco/1", "taco/2", "taco/3"]
    write("b.jsonl", made.TACO | {"difficulty": "so-so"})
    with pytest.raises(ProblemError, match=r"b\.jsonl:1, row 3: the level is 'so-so'"):
        problems.load(folder)


def test_no_name_is_not_the_working_folder(write: Write, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(write("a.jsonl", made.TACO))
    assert ids(".") == ["taco/1"]
    with pytest.raises(ProblemError, match="no problem set is named"):
        problems.load("")


def test_splits_are_not_mixed(write: Write):
    write("data/train-00000-of-00001.jsonl", made.TACO)
    folder = write("data/test-00000-of-00001.jsonl", made.TACO)
    with pytest.raises(ProblemError) as caught:
        problems.load(folder)
    assert str(caught.value) == (
        f"{folder}: holds several splits (test, train); name the folder or file of one, like "
        "data/train-00000-of-00001.jsonl"
    )
    assert ids(f"{folder}/data/test-*.jsonl") == ["taco/1"]


def test_a_folder_without_data_and_a_pattern_without_files_say_so(write: Write):
    folder = write("readme.md")
    with pytest.raises(ProblemError, match=r"holds neither problem folders .* nor data files"):
        problems.load(folder)
    with pytest.raises(ProblemError, match=r"train\*: holds neither"):
        problems.load(f"{folder}/train*")


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
def test_tables_are_read_as_json_would_be(tmp_path: Path, ending: str):
    pyarrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [made.CODE_CONTESTS | {"name": f"{number}"} for number in range(40)]
    table = pyarrow.Table.from_pylist(rows)
    path = tmp_path / f"contests{ending}"
    if ending == ".parquet":
        parquet.write_table(table, path)
    else:
        with (
            pyarrow.OSFile(str(path), "wb") as file,
            pyarrow.ipc.new_stream(file, table.schema) as out,
        ):
            out.write_table(table)
    loaded = problems.load(path)
    assert [problem.problem_id for problem in loaded] == [f"code_contests/{n}" for n in range(40)]
    expected = problems.problem_from_row(made.CODE_CONTESTS, "x:1")
    assert {problem.tests for problem in loaded} == {expected.tests}
    assert loaded[0].reference == expected.reference
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ProblemError, match=r"contests.*: no table that can be read"):
        problems.load(path)


def test_a_value_of_a_table_that_json_could_not_hold_is_its_rows_fault_alone(tmp_path: Path):
    pyarrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.Table.from_pylist([made.TACO] * 20)
    made_at = [10**6] * 20
    made_at[3] = made_at[18] = 9 * 10**18  # in no year of Python's
    table = table.append_column("made_at", pyarrow.array(made_at, pyarrow.timestamp("us")))
    parquet.write_table(table, tmp_path / "taco.parquet")
    loaded = problems.load(tmp_path / "taco.parquet", max_bad_share=0.1)
    kept = [number for number in range(1, 21) if number not in (4, 19)]
    assert [problem.problem_id for problem in loaded] == [f"taco/{number}" for number in kept]
    first, second = map(str, loaded.account.bad)
    assert "taco.parquet:4: a value that cannot be read (date value out of range)" in first
    assert "taco.parquet:19: a value that cannot be read (date value out of range)" in second
    text = pyarrow.array([b"good", b"a\xff"]).cast(pyarrow.string(), safe=False)
    parquet.write_table(pyarrow.table({"text": text}), tmp_path / "text.parquet")
    with pytest.raises(ProblemError, match=r"text\.parquet:1: keys text fit no known format"):
        problems.load(tmp_path / "text.parquet")
    with pytest.raises(ProblemError, match=r"text\.parquet:2: a value that cannot be read"):
        problems.load(tmp_path / "text.parquet", max_bad_share=0.9)


def test_a_table_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"")
    with pytest.raises(
        MissingEngine, match=r"a\.parquet: .*pip install 'stepcoder-dist\[parquet\]'"
    ):
        problems.load(tmp_path / "a.parquet")


@pytest.fixture
def cached(tmp_path: Path, monkeypatch) -> Path:
    """Make the cache of a hub that cannot be reached, with one dataset in it."""
    import huggingface_hub.constants as hub

    cache = tmp_path / "hub" / "datasets--own--sums"
    snapshot = cache / "snapshots" / ("a" * 40)
    (snapshot / "data").mkdir(parents=True)
    for name in ("train-0", "test-0"):
        row = made.ACECODE | {"id": name}
        (snapshot / "data" / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(
        "huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", hub.HF_HUB_CACHE
    )
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    source._from_hub.cache_clear()
    return snapshot


@pytest.mark.usefixtures("cached")
def test_a_dataset_of_the_hub_is_read_from_the_cache_without_a_connection():
    assert ids("hf://datasets/own/sums/data/test-0.jsonl") == ["acecode/test-0"]
    assert ids("hf://datasets/own/sums@main/data/train-*") == ["acecode/train-0"]
    assert ids(Path("hf://datasets/own/sums/data/test-0.jsonl")) == ["acecode/test-0"]
    with pytest.raises(ProblemError, match=r"holds several splits"):
        problems.load("hf://datasets/own/sums")
    with pytest.raises(ProblemError, match=r"^hf://datasets/own/other: the hub does not give it"):
        problems.load("hf://datasets/own/other")


def test_only_rows_within_the_dates_are_read(write: Write):
    days = ("2024-08-16", "2024-08-17T08:00:00", "2024-09-01")
    rows = [made.LIVECODEBENCH | {"question_id": day[:10], "contest_date": day} for day in days]
    path = write("lcb.jsonl", *rows) / "lcb.jsonl"
    assert ids(f"{path}?start_date=2024-08-17") == [
        *("livecodebench/2024-08-17", "livecodebench/2024-09-01")
    ]
    spec = source.within(str(path), "2024-08-17", "2024-08-31")
    assert spec == f"{path}?start_date=2024-08-17&end_date=2024-08-31"
    assert ids(spec) == ["livecodebench/2024-08-17"]
    assert ids(source.within(str(path), "", "2024-08-17")) == [
        *("livecodebench/2024-08-16", "livecodebench/2024-08-17")
    ]
    with pytest.raises(ProblemError, match=r"start_date is '2024-8-1', not a day like"):
        problems.load(source.within(str(path), "2024-8-1", ""))
    write("lcb.jsonl", made.TACO)
    with pytest.raises(ProblemError, match=r"lcb\.jsonl:1: the row has no date"):
        problems.load(spec)


def test_integers_of_thousands_of_digits_are_read_and_written(write: Write):
    large = 10**5000 + 7
    path = write("ours.jsonl") / "ours.jsonl"
    path.write_text(
        f'{{"problem_id": "b/1", "inputs": [[{"9" * 5000}]], "outputs": [1], "fn_name": "f"}}\n'
    )
    (problem,) = problems.load(path)
    assert problem.tests.inputs == ([10**5000 - 1],)
    from stepcoder_dist.problems.own_format import row_from_problem

    row = json.loads(json.dumps(row_from_problem(problem) | {"outputs": [large]}))
    assert problems.problem_from_row(row, "x:1").tests.outputs == (large,)
