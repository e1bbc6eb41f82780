"""A guest that waits for its host: `python3 guest_listener.py /guest/guest.sock`, as process 1.

It serves one host at a time: while it does there is no socket. When the host leaves, everything of
its programs is removed, and the guest begins again in the same process. When something cannot be
removed the process ends: whoever supervises the container starts it again.

The folder of the socket belongs to this guest alone: it is emptied after each program. Nothing else
is needed but Python, `/tmp` and that folder to write to. Even an old Python can run this, and say
what it is.
"""

import json
import os
import signal
import socket
import sys

_PARTS = 3


def main(path: str) -> None:
    folder = os.path.dirname(os.path.abspath(path))
    others = sorted(set(os.listdir(folder)) - {os.path.basename(path)})
    if others:
        sys.exit("guest: %s holds %s; give each guest a folder of its own" % (folder, others[0]))
    if os.getpid() != 1:
        sys.exit(
            "guest: this is process %d, not process 1 of its container; start it by an array "
            '(ENTRYPOINT ["python3", ...], command: [...]), with no init before it' % os.getpid()
        )
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while True:
        host = _accepted(path)
        told = {
            "guest": 1,
            "python": list(sys.version_info[:_PARTS]),
            "user": os.getuid(),
            "folder": folder,
            "again": [sys.executable, os.path.abspath(__file__), path],
        }
        try:
            _send(host, json.dumps(told).encode())
            start = json.loads(_received(host).decode())
        except (OSError, EOFError, ValueError):  # somebody who only looked
            host.close()
            continue
        os.dup2(host.fileno(), 0)
        os.dup2(host.fileno(), 1)
        os.chdir(start["folder"])
        # a handler would be reached by a signal of the programs'; without one process 1 hears none
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        python = [sys.executable, "-B", "-u", "-s", "-c", start["boot"]]
        os.execve(sys.executable, python, dict(os.environ, **start["environment"]))


def _accepted(path: str) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    server.bind(path)
    os.chmod(path, 0o666)  # the host may be another user
    server.listen(1)
    host, _ = server.accept()
    os.unlink(path)
    server.close()
    return host


def _send(host: socket.socket, data: bytes) -> None:
    host.sendall(len(data).to_bytes(4, "little") + data)


def _received(host: socket.socket) -> bytes:
    return _exactly(host, int.from_bytes(_exactly(host, 4), "little"))


def _exactly(host: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = host.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004
        sys.exit("guest: name the socket: python3 guest_listener.py /guest/guest.sock")
    main(sys.argv[1])
