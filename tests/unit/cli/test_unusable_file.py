"""A file that cannot be opened is the user's to put right: one line, and no traceback."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from stepcoder_dist.cli import commands, unusable_file


@pytest.mark.parametrize("name", ["ledger", "trace"])
def test_a_folder_in_the_place_of_a_runs_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
):
    file = tmp_path / f"{name}.jsonl"
    file.mkdir()
    assert commands.run([name, str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"stepcoder: {file}: Is a directory; a file is needed there\n"
    )


def test_a_file_without_permission_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "samples.jsonl").write_text("")
    opened = Path.open

    def refuse(path: Path, *how: str, **more: str) -> object:  # root may open anything
        if path.name == "samples.jsonl":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *how, **more)

    monkeypatch.setattr(Path, "open", refuse)
    assert commands.run(["samples", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"stepcoder: {tmp_path}/samples.jsonl: Permission denied; "
        "change its permissions or those of the folders above it\n"
    )


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory", "x"),
        PermissionError(errno.EPERM, "Operation not permitted"),
    ],
)
def test_a_missing_file_and_what_is_no_file_are_not_the_users_mistake(error: OSError):
    assert not unusable_file.is_one(error)


def test_verdicts_cannot_take_the_place_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    row = '{"problem_id": "a", "inputs": ["1"], "outputs": ["1"], "fn_name": null}\n'
    Path("p.jsonl").write_text(row)
    Path("c.jsonl").write_text("")
    files = ("--problems", "p.jsonl", "--programs", "c.jsonl", "--out", ".")
    assert commands.run(["judge", *files, "--backend", "process"]) == 2
    assert capsys.readouterr().err == "stepcoder: .: is a folder; give a file to --out\n"
