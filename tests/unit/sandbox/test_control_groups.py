"""Where this process is among the kernel's control groups, read from its own words."""

from __future__ import annotations

from pathlib import Path

from sandbox.bubblewrap.control_groups import hierarchies

UNIFIED = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
OTHERS = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
HYBRID = (
    "31 25 0:27 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
    "32 25 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 25 0:29 / /sys/fs/cgroup/unified rw shared:11 - cgroup2 cgroup2 rw\n"
)


def test_version_2_is_looked_for_upwards_from_the_own_folder():
    found = hierarchies(OTHERS + UNIFIED, "0::/user.slice/user-7.slice/run.scope\n")
    assert found.controllers == {}
    assert found.unified == [
        Path("/sys/fs/cgroup/user.slice/user-7.slice/run.scope"),
        Path("/sys/fs/cgroup/user.slice/user-7.slice"),
        Path("/sys/fs/cgroup/user.slice"),
        Path("/sys/fs/cgroup"),
    ]


def test_a_container_sees_its_own_folder_at_the_mount():
    mounted = UNIFIED.replace(" / /sys", " /docker/4f9a /sys", 1)
    assert hierarchies(mounted, "0::/docker/4f9a\n").unified == [Path("/sys/fs/cgroup")]


def test_version_1_has_a_folder_for_each_controller():
    found = hierarchies(HYBRID, "9:memory:/job\n4:cpu,cpuacct:/\n0::/\n")
    assert found.unified == [Path("/sys/fs/cgroup/unified")]
    assert found.controllers == {
        "memory": Path("/sys/fs/cgroup/memory/job"),
        "cpu": Path("/sys/fs/cgroup/cpu,cpuacct"),
        "cpuacct": Path("/sys/fs/cgroup/cpu,cpuacct"),
    }
