"""What the nodes of a run say about the model, and what the user is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepcoder_dist.errors import ConfigError
from stepcoder_dist.host import model_files
from stepcoder_dist.host.model_files import ModelFiles
from stepcoder_dist.launch.cluster.node_models import compare

FULL = {"config.json": (700, "c" * 64), "model.safetensors": (15_000, "a" * 64)}


def files(**changed: tuple[int, str] | None) -> ModelFiles:
    """A copy in /models/m, with files that are others, or none."""
    digests = {**FULL, **{name.replace("_", "."): value for name, value in changed.items()}}
    return ModelFiles(path="/models/m", digests={n: v for n, v in digests.items() if v})


def test_nodes_with_the_same_files_pass_wherever_they_lie() -> None:
    elsewhere = ModelFiles(path="/cache/m", digests=FULL)
    compare("m", {"10.0.0.1": files(), "10.0.0.2": elsewhere})


def test_a_node_without_the_model_is_named_with_its_folder_and_what_to_do() -> None:
    lost = ModelFiles(path="/models/m", digests={}, missing="/models/m: no model there")
    with pytest.raises(ConfigError) as raised:
        compare("/models/m", {"10.0.0.1": files(), "10.0.0.2": lost})
    assert str(raised.value) == (
        "1 of 2 nodes cannot load the model /models/m: node 10.0.0.2: /models/m: no model there. "
        "Copy it there, or name a folder that all nodes share (model.path, model.sft_path)"
    )


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (files(model_safetensors=None), "model.safetensors is missing"),
        (files(model_safetensors=(9, "a")), "model.safetensors has 9 bytes instead of 15,000"),
        (files(extra_safetensors=(9, "a")), "extra.safetensors is one file too many"),
        (
            files(model_safetensors=(15_000, "b" * 64)),
            "model.safetensors has other content (SHA-256 bbbbbbbbbbbb, not aaaaaaaaaaaa)",
        ),
    ],
)
def test_the_node_that_differs_from_most_is_named_with_the_file(
    other: ModelFiles, difference: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        compare("m", {"10.0.0.1": other, "10.0.0.2": files(), "10.0.0.3": files()})
    assert f": node 10.0.0.1: /models/m: {difference} (as on 10.0.0.2)." in str(raised.value)


def test_a_folder_is_looked_at_and_what_it_lacks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "m"
    assert model_files.of(str(folder)).missing == f"{folder}: no model there (no such folder)"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}")  # the driver's business
    found = model_files.of(str(folder))
    assert found.path == str(folder)
    assert {name: size for name, (size, _) in found.digests.items()} == {
        "config.json": 2,
        "model.safetensors": 7,
    }
