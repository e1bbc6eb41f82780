"""A command ends with the head of its Ray cluster, and with nothing less."""

from __future__ import annotations

import queue
import socket
import time

import pytest

from stepcoder_dist.launch.cluster import head_watch
from stepcoder_dist.launch.cluster.head_watch import HeadWatch


def listening(port: int = 0) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


def test_a_head_that_is_away_for_the_limit_ends_the_command_with_its_address() -> None:
    head = listening()
    address = f"127.0.0.1:{head.getsockname()[1]}"
    ended: queue.SimpleQueue[str] = queue.SimpleQueue()
    watch = HeadWatch(address, 0.2, ended.put)
    assert watch.head_answers()
    assert ended.empty()
    head.close()
    said = ended.get(timeout=10)
    assert said.startswith(f"the head of the Ray cluster at {address} has been away for 0.2 s")
    assert "--resume" in said
    assert not watch.head_answers()


def test_the_time_that_a_head_was_away_before_does_not_count() -> None:
    head = listening()
    port = head.getsockname()[1]
    ended: queue.SimpleQueue[str] = queue.SimpleQueue()
    HeadWatch(f"127.0.0.1:{port}", 1.5, ended.put)
    head.close()
    with pytest.raises(queue.Empty):
        ended.get(timeout=0.3)
    head = listening(port)
    head.accept()[0].close()  # it has been seen
    lost = time.monotonic()
    head.close()
    ended.get(timeout=30)
    assert time.monotonic() - lost >= 1.5


def test_the_watch_is_earlier_than_rays_own_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_gcs_rpc_server_reconnect_timeout_s", raising=False)
    assert head_watch.limit_s() == 45
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "600")
    assert head_watch.limit_s() == 450
