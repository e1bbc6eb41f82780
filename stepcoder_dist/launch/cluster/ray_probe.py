"""Probe of Ray: a session can be started here, or the cluster that `RAY_ADDRESS` names answers."""

from __future__ import annotations

import logging
import os
import tempfile

from stepcoder_dist.doctor.examination import Finding, Mark, first_line
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.launch.cluster import ray_session


def session(demand: dict[str, float]) -> list[Finding]:
    """Reach the cluster and compare its size with the run's demand, or start and end a Ray here."""
    address = os.environ.get("RAY_ADDRESS")
    return _cluster(address, demand) if address else _own()


def authentication() -> list[Finding]:
    """Report whether Ray's token authentication is on, and where the token is."""
    if os.environ.get("RAY_AUTH_MODE", "token") == "disabled":
        return [Finding("Ray's token", Mark.WORKS, "authentication is off (RAY_AUTH_MODE)")]
    if os.environ.get("RAY_AUTH_TOKEN"):
        return [Finding("Ray's token", Mark.WORKS, "in RAY_AUTH_TOKEN")]
    path = ray_session.token_file()
    if path.is_file():
        return [Finding("Ray's token", Mark.WORKS, f"in {path}")]
    if os.environ.get("RAY_ADDRESS"):
        return [
            Finding(
                "Ray's token",
                Mark.CAUTION,
                f"none in RAY_AUTH_TOKEN or {path}",
                "copy the head's token there, or set RAY_AUTH_MODE as the head has it",
            )
        ]
    return [Finding("Ray's token", Mark.WORKS, f"none yet: Ray makes {path} at its first start")]


def _cluster(address: str, demand: dict[str, float]) -> list[Finding]:
    import ray

    try:
        ray_session.check_answers(address)
    except ConfigError as error:
        return [Finding("Ray", Mark.FAILS, f"{error}", "ray start --head")]
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # noqa: BLE001 (Ray raises many kinds: a token, a version)
        fix = "use the head's Ray version and token (RAY_AUTH_MODE, RAY_AUTH_TOKEN)"
        return [Finding("Ray", Mark.FAILS, f"{address}: {first_line(error)}", fix)]
    try:
        present = ray.cluster_resources()
        nodes = sum(1 for node in ray.nodes() if node["Alive"])
    finally:
        ray.shutdown()
    amounts = {name: present.get(name, 0.0) for name in ("CPU", "GPU")}
    amounts |= {name: present.get(name, 0.0) for name in demand}
    size = ", ".join(f"{amount:g} {name}" for name, amount in amounts.items())
    finding = Finding("Ray", Mark.WORKS, f"cluster at {address}: {nodes} nodes, {size}")
    try:
        ray_session.check_size(demand, present)
    except ConfigError as error:
        return [finding, Finding("Ray's size", Mark.FAILS, f"{error}")]
    asked = ", ".join(f"{amount:g} {name}" for name, amount in demand.items())
    return [finding, Finding("Ray's size", Mark.WORKS, f"the run asks for {asked}")]


def _own() -> list[Finding]:
    import ray

    if not ray_session.has_token():
        os.environ["RAY_AUTH_MODE"] = "disabled"  # or starting would leave a token behind
    with tempfile.TemporaryDirectory(prefix="stepcoder-", ignore_cleanup_errors=True) as folder:
        ray.init(
            address="local",
            num_cpus=1,
            object_store_memory=2**27,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=folder,
        )
        ray.shutdown()
    return [Finding("Ray", Mark.WORKS, "a session of its own starts here")]
