"""The compose file and the Dockerfiles fit the run that they are for, and give nothing more."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_run import RUN_FILE, SETTINGS
from room import fitting

from stepcoder_dist.config import RunConfig
from stepcoder_dist.run.reservations import reserved
from stepcoder_dist.run.run_file import load

REPOSITORY = Path(__file__).parents[3]
IMAGES = REPOSITORY / "deploy" / "images"
POOLS = {"rollout": "rollout", "learner": "learner", "sandbox": "sandbox_node"}
"""The service of each pool, and the resource that its nodes offer."""


def services() -> dict[str, dict[str, Any]]:
    text = (REPOSITORY / "deploy" / "compose" / "compose.yaml").read_text("utf-8")
    found: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
    return found


def run() -> RunConfig:
    return load(REPOSITORY / RUN_FILE, [f"{key}={value}" for key, value in SETTINGS.items()])


def offered(service: dict[str, Any]) -> dict[str, float]:
    options = dict(word.split("=", 1) for word in shlex.split(service["command"]) if "=" in word)
    return {"CPU": float(options["--num-cpus"]), **json.loads(options.get("--resources", "{}"))}


def test_the_processes_of_the_run_fit_the_nodes_of_their_pool_and_no_other() -> None:
    config = run()
    wanted = {
        "rollout": (config.actors.resources, config.actors.number),
        "learner": (config.learner.resources, config.learner.ranks),
        "sandbox": (config.sandbox.resources, config.sandbox.number),
    }
    for pool, (resources, number) in wanted.items():
        assert POOLS[pool] in resources.custom
        for name, service in services().items():
            if name.startswith("guest"):
                continue
            held = fitting(offered(service), reserved(resources))
            assert (held >= number) if name == pool else (held == 0), (pool, name)


def test_each_guest_has_a_volume_of_its_own_and_the_executors_see_all_sockets() -> None:
    found = services()
    guests = {name: each for name, each in found.items() if name.startswith("guest")}
    mounts = dict(volume.split(":") for volume in found["sandbox"]["volumes"])
    assert {each["user"] for each in guests.values()} == {"310000:310000", "310001:310001"}
    assert mounts.keys() == {
        volume.split(":")[0] for g in guests.values() for volume in g["volumes"]
    }
    for folder in mounts.values():
        assert Path(folder, "guest.sock").match(str(run().sandbox.sockets))
    for guest in guests.values():
        assert guest["network_mode"] == "none"
        assert guest["read_only"] is True
        assert guest["restart"] == "always"
        assert "init" not in guest  # it has to be process 1
        assert "environment" not in guest  # the token is none of a program's business
        assert guest["pids_limit"] <= 64


def test_no_container_has_more_than_it_needs_and_the_dashboard_is_on_loopback() -> None:
    for name, service in services().items():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["mem_limit"]
        assert "privileged" not in service
        assert all(
            not port.split(":")[0] or port.startswith("127.0.0.1:")
            for port in service.get("ports", [])
        )
        assert ("ports" in service) == (name == "head")
        if not name.startswith("guest"):
            assert service["environment"]["RAY_AUTH_MODE"] == "token"
            assert service["environment"]["RAY_AUTH_TOKEN"].startswith("${RAY_AUTH_TOKEN:?")


def test_each_image_of_a_node_is_extras_of_the_project() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    known = extras["optional-dependencies"].keys()
    for role in ("rollout", "learner", "sandbox-executor", "driver"):
        for gpu in ("", "1"):
            assert set(extras_of(role, gpu).split(",")) <= known
    assert extras_of("rollout", "") == "actors-cpu"
    assert extras_of("rollout", "1") == "actors"
    used = {
        re.sub(r".*-stepcoder-(.*):latest}", r"\1", each["image"]) for each in services().values()
    }
    assert used == {"driver", "rollout", "learner", "sandbox-executor", "guest"}


def extras_of(role: str, gpu: str) -> str:
    script = f'die() {{ echo "$*" >&2; exit 1; }}; . {IMAGES}/roles.sh; extras_of "$1" "$2"'
    done = subprocess.run(
        ["bash", "-c", script, "-", role, gpu], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["node", "guest"])
def test_a_dockerfile_ends_as_a_plain_user_and_pins_what_it_installs(name: str) -> None:
    lines = (IMAGES / f"{name}.Dockerfile").read_text("utf-8").replace("\\\n", " ").splitlines()
    steps = [line.split(None, 1) for line in lines if line and not line.startswith(("#", " "))]
    instructions = {step[0] for step in steps}
    assert instructions <= {
        "ARG",
        "FROM",
        "COPY",
        "RUN",
        "ENV",
        "USER",
        "WORKDIR",
        "ENTRYPOINT",
        "CMD",
    }
    assert all(rest.startswith("${BASE}") for word, rest in steps if word == "FROM")
    assert [rest for word, rest in steps if word == "USER"] == ["1000:1000"]
    for word, rest in steps:
        if word == "RUN" and "pip install" in rest:
            assert any(pin in rest for pin in ("uv==", "-c ", "--no-deps"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "images: name at least one of rollout, "),
        (["lerner"], "unknown image 'lerner'; use one or more of rollout, "),
    ],
)
def test_a_wrong_image_is_refused_in_one_line(arguments: list[str], says: str) -> None:
    done = subprocess.run(
        [IMAGES / "build_images.sh", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
