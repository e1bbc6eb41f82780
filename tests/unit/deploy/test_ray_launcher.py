"""The files for Ray's cluster launcher are valid to the last field, and fit their page's run."""

from __future__ import annotations

import copy
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from room import fitting

from stepcoder_dist.config import RunConfig
from stepcoder_dist.run.reservations import reserved
from stepcoder_dist.run.run_file import load

REPOSITORY = Path(__file__).parents[3]
FOLDER = REPOSITORY / "deploy" / "ray"
PAGE = REPOSITORY / "docs" / "ray-launcher.md"
CHOSEN = {"node_config", "resources", "file_mounts", "provider"}
"""What holds names that are the provider's or the user's."""


def read(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text("utf-8"))
    return loaded


def check(cluster: dict[str, Any]) -> dict[str, Any]:
    """Do what `ray up` does before it starts anything; return what it then works with."""
    prepared = prepare_config(copy.deepcopy(cluster))
    validate_config(prepared)
    return prepared


def fields(node: Any, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(node, dict) or CHOSEN.intersection(above):
        return []
    return [
        path
        for name, value in node.items()
        for path in [(*above, name), *fields(value, (*above, name))]
    ]


@pytest.mark.parametrize("name", ["cluster.yaml", "machines.yaml"])
def test_a_file_is_valid_and_a_misspelled_field_of_it_is_not(name: str) -> None:
    cluster = read(name)
    check(cluster)
    named = [path for path in fields(cluster) if path[:-1] != ("available_node_types",)]
    assert len(named) > 8
    for *parents, field in named:
        wrong = copy.deepcopy(cluster)
        node = wrong
        for step in parents:
            node = node[step]
        node[f"{field}z"] = node.pop(field)
        with pytest.raises((jsonschema.ValidationError, ValueError, KeyError, AssertionError)):
            check(wrong)


def test_a_value_out_of_range_is_refused() -> None:
    cluster = read("cluster.yaml")
    cluster["available_node_types"]["rollout"]["min_workers"] = "four"
    with pytest.raises(jsonschema.ValidationError):
        validate_config({**cluster, "cluster_synced_files": []})
    cluster = read("cluster.yaml")
    cluster["max_workers"] = 7  # fewer than the nodes that are there from the start
    with pytest.raises(ValueError, match="smaller than the"):
        check(cluster)


def run() -> RunConfig:
    """The run that the page submits to cluster.yaml."""
    (command,) = re.findall(
        r"-- (stepcoder train \S+cluster.toml(?:.*\\\n)*.*)", PAGE.read_text("utf-8")
    )
    words = shlex.split(command)
    settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    return load(REPOSITORY / words[2], settings)


def test_the_processes_of_the_run_fit_their_node_types_and_no_other() -> None:
    config = run()
    types = check(read("cluster.yaml"))["available_node_types"]
    pools = {
        "rollout": (config.actors.resources, config.actors.number, config.actors.most),
        "learner": (config.learner.resources, config.learner.ranks, config.learner.ranks),
        "sandbox": (config.sandbox.resources, config.sandbox.number, config.sandbox.most),
    }
    assert types.keys() == {"head", *pools}
    for pool, (resources, number, most) in pools.items():
        process = reserved(resources)
        for name, node in types.items():
            assert (fitting(node["resources"], process) > 0) == (name == pool), (pool, name)
        held = fitting(types[pool]["resources"], process)
        # what a run reserves before it begins is there from the start
        assert held * types[pool]["min_workers"] >= number
        assert held * types[pool]["max_workers"] >= most
    workers = [node for name, node in types.items() if name != "head"]
    assert read("cluster.yaml")["max_workers"] == sum(node["max_workers"] for node in workers)


def test_every_node_type_is_prepared_with_the_packages_of_its_pool() -> None:
    types = check(read("cluster.yaml"))["available_node_types"]
    roles = {"rollout": "rollout", "learner": "learner", "sandbox": "sandbox-executor"}
    for name, role in roles.items():
        unpack, *_, prepare = types[name]["worker_setup_commands"]
        assert "stepcoder.tar" in unpack
        assert prepare.split("setup_node.sh ")[1] == role
        assert prepare.startswith("GPU=1 ") == ("GPU" in types[name]["resources"])


@pytest.mark.parametrize("name", ["cluster.yaml", "machines.yaml"])
def test_the_token_reaches_every_node(name: str) -> None:
    assert read(name)["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_a_role_that_does_not_exist_is_refused_before_anything_is_installed() -> None:
    command = [str(FOLDER / "setup_node.sh"), "rollouts"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "setup_node: 'rollouts' names no role; use one or more of driver, rollout, learner, "
        "sandbox-executor\n"
    )
