"""What a run asks of a Ray cluster, and what a cluster that is not there costs."""

from __future__ import annotations

import socket

import pytest

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError, RunError
from stepcoder_dist.launch.cluster.ray_session import connect, ray_session
from stepcoder_dist.run.reservations import demand


def config() -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "session",
            "model": {"path": "m"},
            "problems": {"train": "t", "heldout": "h"},
            "actors": {"number": 3, "resources": {"num_cpus": 2, "custom": {"fast": 0.5}}},
            "sandbox": {"number": 2, "resources": {"num_cpus": 0.5}},
            "learner": {"ranks": 2, "resources": {"num_cpus": 4, "num_gpus": 1}},
        }
    )


def test_each_pool_asks_for_its_number_times_its_own_resources():
    assert demand(config()) == {"CPU": 15.0, "GPU": 2.0, "fast": 1.5}
    assert demand(config(), pools=False) == {"CPU": 8.0, "GPU": 2.0}
    assert demand(config(), learner=False) == {"CPU": 7.0, "fast": 1.5}


def test_an_address_where_nothing_listens_is_one_line_at_once(monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but nobody listens
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with (
            pytest.raises(ConfigError, match="no Ray cluster answers there"),
            ray_session(config()),
        ):
            pass


@pytest.mark.parametrize("address", ["localhost", "http://127.0.0.1:8265", ":6379", "head:gcs"])
def test_what_is_no_address_is_one_line(address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with (
        pytest.raises(ConfigError, match=f"RAY_ADDRESS = {address}: not of the form HEAD:6379"),
        ray_session(config()),
    ):
        pass


def test_a_cluster_that_refuses_this_client_is_one_line(monkeypatch: pytest.MonkeyPatch):
    def init(**_: object) -> None:
        raise ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379\nand more")

    monkeypatch.setattr("ray.init", init)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    said = r"it refuses this client \(Failed to connect to Ray cluster at 10\.0\.0\.1:6379\); give"
    with pytest.raises(ConfigError, match=said), ray_session(config()):
        pass


def test_a_ray_that_does_not_come_up_is_one_line_and_other_errors_pass(
    monkeypatch: pytest.MonkeyPatch,
):
    def init(**options: BaseException) -> None:
        raise options["error"]

    monkeypatch.setattr("ray.init", init)
    slow = Exception("The current node timed out during startup. This could happen because …")
    with pytest.raises(RunError, match=r"did not start \(The current node timed out"):
        connect({"error": slow})
    with pytest.raises(ValueError, match="an option"):
        connect({"error": ValueError("an option")})
