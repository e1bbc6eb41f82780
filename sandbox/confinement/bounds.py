"""The bounds of a confined place, whoever starts it."""

from __future__ import annotations

FOLDERS = {"/tmp": (64, 8192), "/dev/shm": (16, 1024)}  # noqa: S108 - the place's own
"""Writable folders: MiB and inodes."""
CAPABILITIES = ("SETUID", "SETGID", "KILL", "DAC_OVERRIDE", "FOWNER", "IPC_LOCK")
"""Those of the zygote; its children have none."""
LOWEST_PYTHON = (3, 12)
"""Of an image."""
OVERHEAD_BYTES = 128 * 2**20
"""Zygote, standard input and output, temporary files: what a test's own limit does not count."""
SPARE_PROCESSES = 8
