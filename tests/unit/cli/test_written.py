"""Paths of the command line: `~` means the home folder, also where no shell replaced it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_type_hints

import pytest

from stepcoder_dist.cli import commands, data_commands
from stepcoder_dist.cli.written import path_of, source_of
from stepcoder_dist.problems import ladder, own_format


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_path_that_begins_with_the_home_folder_is_in_it(home: Path):
    assert path_of("~/x.toml") == home / "x.toml"
    assert path_of("~") == home
    assert source_of("~/x.jsonl") == f"{home}/x.jsonl"


@pytest.mark.parametrize("written", ["x.toml", "/a/~/x", "./~", "ladder:sft?n=7", "a//b"])
def test_anything_else_is_as_it_was_written(written: str):
    assert source_of(written) == written


SOURCES = {"evaluate model", "inspect file", "inspect tokenizer", "overlap training",
           "overlap evaluated", "refine against", "refine source"}  # fmt: skip
"""The texts that may be a path."""


def test_every_path_of_every_command_is_read_that_way():
    read = {path_of: set(), source_of: set(), None: set()}
    for app in (commands.app, data_commands.app):
        for command in app.registered_commands:
            name = command.callback.__name__
            for parameter, hint in get_type_hints(command.callback, include_extras=True).items():
                for each in getattr(hint, "__metadata__", ()):
                    read[each.parser].add((f"{name} {parameter}", str(hint.__origin__)))
    assert {name for name, _ in read[source_of]} == SOURCES
    assert {name for name, _ in read[path_of]} >= {"train run_file", "judge out", "refine out"}
    assert [name for name, kind in read[None] if "Path" in kind] == []


def test_an_option_that_no_shell_expands_reads_the_file(
    home: Path, capsys: pytest.CaptureFixture[str]
):
    rows = [own_format.row_from_problem(each) for each in ladder.problems("train", count=2)]
    (home / "set.jsonl").write_text("".join(f"{row}\n" for row in map(json.dumps, rows)))
    assert commands.run(["data", "inspect", "~/set.jsonl", "--json"]) == 0
    assert '"problems": 2' in capsys.readouterr().out


def test_a_run_file_and_what_it_names_are_found_in_the_home_folder(
    home: Path, capsys: pytest.CaptureFixture[str]
):
    (home / "sft").mkdir()
    (home / "sft" / "config.json").write_text("{}")
    (home / "set.jsonl").write_text("")
    (home / "run.toml").write_text(
        'name = "n"\nrun_dir = "~/run"\n[model]\npath = "org/base"\nsft_path = "~/sft"\n'
        '[problems]\ntrain = "~/set.jsonl"\nheldout = "ladder:heldout"\n'
    )
    assert commands.run(["train", "~/run.toml", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert f'run_dir = "{home}/run"' in printed
    assert f"problems.train: {home}/set.jsonl: 0 bytes" in printed
    assert f"model: {home}/sft: on this machine" in printed
