"""The demo's warm start in the tree is the one that its run file makes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from stepcoder_dist.config import RunConfig
from stepcoder_dist.problems import ladder
from stepcoder_dist.run import run_file

ROOT = Path(__file__).parents[3]


@pytest.fixture
def config() -> RunConfig:
    return run_file.load(ROOT / "deploy/runs/demo.toml", ())


def test_its_record_names_what_the_run_file_asks_for(config: RunConfig):
    record = json.loads((ROOT / config.model.sft_path / "stepcoder.json").read_text())
    assert config.model.tiny is not None
    sft = config.sft.model_dump(mode="json")
    # made before there was packing, which changes the order of sums: the run file switches it off
    assert "packing" not in record["sft"]
    assert not config.sft.packing
    asked = {
        "seed": config.seed,
        "problems": config.problems.sft,
        "prompt": config.prompt.template,
        "base": config.model.tiny.model_dump(),
        "sft": {key: sft[key] for key in record["sft"]},
        "updates": sum(phase.steps for phase in config.sft.phases),
    }
    assert {key: record[key] for key in asked} == asked


def test_its_weights_are_those_that_the_record_speaks_of(config: RunConfig):
    folder = ROOT / config.model.sft_path
    record = json.loads((folder / "stepcoder.json").read_text())
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("*.safetensors")
    }
    assert found == record["sha256"]


def test_its_tokenizer_is_the_ladders(config: RunConfig, tmp_path: Path):
    ladder.write_tokenizer(tmp_path)
    for path in tmp_path.iterdir():
        assert (ROOT / config.model.sft_path / path.name).read_bytes() == path.read_bytes()
