"""The driver's side of Ray: join the cluster or start one, check its size."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError, Interrupted, RunError
from stepcoder_dist.host import interruption, scratch
from stepcoder_dist.launch.cluster import gpu_nodes, head_watch, placement
from stepcoder_dist.run.reservations import demand


@contextmanager
def ray_session(config: RunConfig, *, learner: bool = True, pools: bool = True) -> Iterator[None]:
    """Connect to the cluster that `RAY_ADDRESS` names, or start a Ray of this run's own.

    A Ray of its own reserves as many CPUs as the run file asks for with pools of their `max`, also
    where the machine has fewer: there the reservations are names, not cores. Raises `ConfigError`
    when a cluster lacks what the run file asks for. A command does not outlive the cluster's head
    (`head_watch.py`).
    """
    import ray

    watch: head_watch.HeadWatch | None = None
    needed = demand(config, learner=learner, pools=pools)
    # What the processes print is in the session's logs and in the dashboard; what they raise
    # comes here.
    common: dict[str, Any] = {
        "namespace": f"stepcoder-{config.name}-{os.getpid()}",
        "log_to_driver": False,
        "logging_level": logging.ERROR,
    }
    if address := os.environ.get("RAY_ADDRESS"):
        check_answers(address)
    else:
        most = demand(config, learner=learner, pools=pools, grown=True)
        custom = {name: amount for name, amount in most.items() if name not in ("CPU", "GPU")}
        common |= {
            "address": "local",
            "num_cpus": max(int(-(-most.get("CPU", 0) // 1)), os.cpu_count() or 1),
            "resources": custom,
            "include_dashboard": config.dashboard,
            # A run's actors have environments of their own: workers made in advance are for nobody.
            "_system_config": {"prestart_worker_first_driver": False},
        }
    try:
        connect(common)
        head = ray.get_runtime_context().gcs_address
        watch = head_watch.HeadWatch(head, head_watch.limit_s())
        check_size(needed, ray.cluster_resources())
        if needed.get("GPU"):
            gpu_nodes.refuse_old_drivers()
        placement.reserve(config, learner=learner, pools=pools)
        yield
    finally:
        if watch is not None and watch.head_answers():  # else it ends what waits for the head
            watch.stop()
        ray.shutdown()
        if watch is not None:
            watch.stop()
        scratch.sweep()


def connect(options: Mapping[str, Any]) -> None:
    """Call `ray.init`.

    Raises `ConfigError` where no cluster answers or it refuses this client, `RunError` where Ray
    does not come up: it gives its own processes 30 s, which is short on an overloaded machine.
    """
    import ray
    from ray.exceptions import AuthenticationError

    try:
        ray.init(**options)
    except AuthenticationError as error:
        raise ConfigError(
            f"the Ray cluster refuses this client ({str(error).strip().splitlines()[0]}); give it "
            "the cluster's token: RAY_AUTH_MODE=token, RAY_AUTH_TOKEN_PATH (docs/cluster.md)"
        ) from None
    except ConnectionError as error:
        if options.get("address") == "local":  # a Ray of the run's own
            raise
        raise no_cluster(error) from None
    except Exception as error:
        if type(error) is not Exception:  # Ray's class for this one
            raise
        reason = str(error).strip().partition(". ")[0]
        raise RunError(
            f"Ray did not start ({reason}); start the command again when the machine has less to do"
        ) from error
    except SystemExit:  # Ray's own handler of SIGTERM, until it is connected
        raise Interrupted(signal.SIGTERM) from None
    finally:
        interruption.take_back()


def no_cluster(error: ConnectionError) -> ConfigError:
    """Return the line for a cluster that Ray could not reach: it does not say why."""
    return ConfigError(
        f"no Ray cluster answers, or it refuses this client ({str(error).splitlines()[0]}); "
        "give its address (RAY_ADDRESS=HEAD:6379; --address of `status` and `scale`) and its token "
        "(RAY_AUTH_MODE=token, RAY_AUTH_TOKEN_PATH; docs/cluster.md)"
    )


def token_file() -> Path:
    """Return where Ray looks for the cluster's token."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()


def has_token() -> bool:
    """Return whether this client has a token for a Ray cluster."""
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or token_file().is_file()


def check_answers(address: str, given_as: str = "RAY_ADDRESS") -> None:
    """Raise `ConfigError` for what is no address, and where nothing listens.

    Ray itself ends with a traceback, or tries for minutes.
    """
    if address in ("auto", "local") or address.startswith("ray://"):
        return  # Ray finds out
    host, _, port = address.rpartition(":")
    if not host or "/" in address or not port.isdecimal():
        raise ConfigError(
            f"{given_as} = {address}: not of the form HEAD:6379 (http://HEAD:8265 is for "
            "`ray job submit --address`)"
        )
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"{given_as} = {address}: no Ray cluster answers there ({error}); start one "
            "(`ray start --head`), or unset it for a Ray of the run's own"
        ) from None


def check_size(needed: Mapping[str, float], present: Mapping[str, float]) -> None:
    short = [
        f"{amount:g} {name} (it has {present.get(name, 0):g})"
        for name, amount in needed.items()
        if present.get(name, 0) < amount
    ]
    if short:
        raise ConfigError(
            f"the run asks the Ray cluster for {', '.join(short)}; "
            "lower number or resources of [actors], [sandbox] or [learner], or add nodes (on one "
            "machine reservations are names: `ray start --head --num-cpus=N` takes any N)"
        )
