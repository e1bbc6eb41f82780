"""Which model a text names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepcoder_dist.errors import ConfigError
from stepcoder_dist.host import model_source
from stepcoder_dist.host.model_source import ModelSource, find


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("text", ["gpt2", "Qwen/Qwen2.5-Coder-0.5B", "org_1/model.v2"])
def test_what_has_the_form_of_a_hub_name_and_is_no_folder_here_is_one(text: str):
    assert find(text) == ModelSource(text)
    assert find(text).folder is None
    assert find(text).checked() == ModelSource(text)


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("/models/m", "/models/m"),
        ("/models/../m/", "/m"),
        ("~/m", "{here}/home/m"),
        ("./m", "{here}/m"),
        ("../m", "{parent}/m"),
        ("runs/demo-sft", "{here}/runs/demo-sft"),
        ("deploy/models/ladder-sft", "{here}/deploy/models/ladder-sft"),
        (".hidden", "{here}/.hidden"),
        ("two words", "{here}/two words"),
    ],
)
def test_what_begins_as_a_path_or_has_more_parts_than_a_hub_name_is_an_absolute_folder(
    tmp_path: Path, text: str, folder: str
):
    expected = Path(folder.format(here=tmp_path, parent=tmp_path.parent))
    assert find(text).folder == expected
    assert find(text).text == str(expected)


def test_a_folder_that_is_there_wins_over_a_hub_name(tmp_path: Path):
    assert find("org/model").folder is None
    (tmp_path / "org" / "model").mkdir(parents=True)
    assert find("org/model").folder == tmp_path / "org" / "model"


def test_what_was_found_is_found_again_in_another_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "model").mkdir()
    (tmp_path / "elsewhere").mkdir()
    found = [find("model"), find("org/model")]
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert [find(source.text) for source in found] == found


def test_a_folder_without_a_model_is_one_line_with_what_to_do(tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        find("./none").checked("fix model.path")
    assert str(caught.value) == f"{tmp_path}/none: no model there (no such folder); fix model.path"
    (tmp_path / "none").mkdir()
    assert not model_source.holds_model("none")
    with pytest.raises(ConfigError) as caught:
        find("none").checked()
    assert str(caught.value) == (
        f"{tmp_path}/none: no model there (config.json is missing); run `stepcoder sft RUN.toml` "
        "first, or fix model.path (or --model)"
    )
    (tmp_path / "none" / "config.json").write_text("{}")
    assert model_source.holds_model("none")
    assert find("none").checked() == find("none")


def test_a_folders_files_are_where_they_are_and_a_hub_names_are_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hub = pytest.importorskip("huggingface_hub")
    asked: dict[str, Any] = {}

    def download(name: str, *, allow_patterns: list[str]) -> str:
        asked[name] = allow_patterns
        return f"/cache/{name}"

    monkeypatch.setattr(hub, "snapshot_download", download)
    (tmp_path / "model").mkdir()
    assert find("model").files(["*.json"]) == tmp_path / "model"
    assert find("org/model").files(["*.json"]) == Path("/cache/org/model")
    assert asked == {"org/model": ["*.json"]}
    with pytest.raises(ConfigError, match=r"absent: no model there \(no such folder\); run"):
        find("./absent").files(["*.json"])


def test_a_name_that_the_hub_does_not_give_is_one_line(monkeypatch: pytest.MonkeyPatch):
    hub = pytest.importorskip("huggingface_hub")
    errors = pytest.importorskip("huggingface_hub.errors")

    def absent(*_: Any, **__: Any) -> str:
        raise errors.LocalEntryNotFoundError("offline\nand more")

    monkeypatch.setattr(hub, "snapshot_download", absent)
    with pytest.raises(ConfigError) as caught:
        find("acme/tiny-coder").files(["*.json"])
    assert str(caught.value) == (
        "acme/tiny-coder: no such folder, and the hub does not give it (offline); run "
        "`stepcoder sft RUN.toml` first, or fix model.path (or --model)"
    )
