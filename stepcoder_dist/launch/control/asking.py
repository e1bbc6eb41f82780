"""The side of the one who asks: find a run in a cluster, ask it, from any machine."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from stepcoder_dist.errors import ConfigError, RunError
from stepcoder_dist.launch.cluster.ray_session import check_answers, connect, has_token, no_cluster
from stepcoder_dist.launch.control.question import NAMESPACE, Answer, Question


def ask(question: Question, *, run: str, address: str, timeout_s: float) -> tuple[str, Answer]:
    """Return the name of the run, and what it answers.

    An empty `run` is the only one there is; an empty `address` is `RAY_ADDRESS`, or the Ray of
    this machine. Raises `ConfigError` where there is no such run, `RunError` for an error that the
    run answers with, or none within `timeout_s`.
    """
    _take_token()
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    with _connected(address):
        name = choose(names(), run, ray.get_runtime_context().gcs_address)
        actor = ray.get_actor(name, namespace=NAMESPACE)
        try:
            answer: Answer = ray.get(actor.ask.remote(question), timeout=timeout_s)
        except GetTimeoutError:
            raise RunError(
                f"run {name} has not answered within {timeout_s:g} s; what it was asked for "
                "continues there: `stepcoder status` shows how far it is"
            ) from None
        except RayError:
            raise RunError(f"run {name} ended before it answered") from None
    if error := answer.get("error"):
        raise RunError(f"run {name}: {error}")
    return name, answer


def _take_token() -> None:
    """Have Ray send the token that this client has; it reads the variable when it is imported."""
    if has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def names() -> list[str]:
    """Return the names of the live runs of the cluster."""
    from ray.util import list_named_actors

    found: list[dict[str, Any]] = list_named_actors(all_namespaces=True)
    return sorted(actor["name"] for actor in found if actor["namespace"] == NAMESPACE)


def choose(live: list[str], run: str, cluster: str) -> str:
    """Return the run that is meant. Raises `ConfigError` that names those that there are.

    `cluster` is the address, for the message.
    """
    named = ", ".join(live)
    where = f"is live in the Ray cluster at {cluster}"
    if run and run not in live:
        raise ConfigError(f"no run {run} {where}" + (f"; there are: {named}" if live else ""))
    if not live:
        raise ConfigError(
            f"no run {where}; a run answers from its first step to its last, and --address names "
            "another cluster"
        )
    if not run and len(live) > 1:
        raise ConfigError(
            f"{len(live)} runs are live in the Ray cluster at {cluster} ({named}): choose one with "
            "--run"
        )
    return run or live[0]


@contextmanager
def _connected(address: str) -> Iterator[None]:
    import ray

    if address:
        check_answers(address, "--address")
    elif address := os.environ.get("RAY_ADDRESS", ""):
        check_answers(address)
    try:
        # Ray prints what happens in the cluster (a node died) to the standard output of all of its
        # drivers; that of a question is its answer.
        with redirect_stdout(sys.stderr):
            connect(
                {
                    "address": address or "auto",
                    "namespace": NAMESPACE,
                    "log_to_driver": False,
                    "logging_level": logging.ERROR,
                }
            )
            yield
    except ConnectionError as error:
        raise no_cluster(error) from None
    finally:
        ray.shutdown()
