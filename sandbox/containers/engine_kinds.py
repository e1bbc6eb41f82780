"""What differs between engines under Docker's API: Podman's flags, users without root."""

from __future__ import annotations

import re
import resource
from importlib import resources
from typing import Any

import docker
from docker.types import Ulimit

from sandbox.confinement.bounds import FOLDERS
from sandbox.containers.program_users import APART, next_rootless_users, next_user
from sandbox.guest.layout import Settings

_PODMAN_FILES, _PODMAN_PROCESSES = 2**16, 2**12


def is_podman(client: docker.DockerClient) -> bool:
    """Return whether Podman answers under Docker's API."""
    components = client.version().get("Components") or ()
    return any("Podman" in str(component.get("Name")) for component in components)


def settings_for(client: docker.DockerClient) -> Settings:
    """Users that the engine can give; the zygote watches the memory where the engine cannot."""
    about = client.info()
    options = about.get("SecurityOptions") or ()  # Docker says it there, Podman by a key
    rootless = about.get("Rootless") or any("rootless" in option for option in options)
    uid = next_user()
    users = next_rootless_users() if rootless else (uid, uid + APART)
    return Settings(
        uid=users[0],
        script_uid=users[1],
        folders=list(FOLDERS),
        contained=True,
        # without root, version 1 of control groups limits nothing
        watch_memory=bool(rootless) and str(about.get("CgroupVersion", "1")) == "1",
    )


def as_podman_takes_them(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the same flags for Podman: no limit on inodes, and the profile by its path.

    Podman reads the profile itself, so it has to be an engine of this machine.
    """
    tmpfs = {path: re.sub(r"nr_inodes=\d+,", "", o) for path, o in flags["tmpfs"].items()}
    profile = f"seccomp={resources.files('sandbox').joinpath('seccomp.json')}"
    # its own defaults are above what a machine may allow
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _PODMAN_FILES if files == resource.RLIM_INFINITY else min(files, _PODMAN_FILES)
    hard = {"nofile": files, "nproc": _PODMAN_PROCESSES}
    own = [Ulimit(name=name, soft=most, hard=most) for name, most in hard.items()]
    return {
        **flags,
        "tmpfs": tmpfs,
        "security_opt": ["no-new-privileges", profile],
        "ulimits": [*flags["ulimits"], *own],
    }
