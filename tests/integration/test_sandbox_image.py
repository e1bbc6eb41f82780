"""Images of the user's own: what `doctor` says of them, and that programs find their packages."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator

import pytest

from sandbox import probes
from sandbox.backend import make_pool
from sandbox.containers.container import check_image, connect
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.doctor.examination import Finding, Mark
from stepcoder_dist.errors import MissingEngine
from stepcoder_dist.records import TestSuite

pytestmark = pytest.mark.docker

BASE = "stepcoder-sandbox:latest"
PACKAGES = (
    "$(python3 -c \"import sys; print('/usr/local/lib/python%d.%d' % sys.version_info[:2])\")"
)
ADDED = (
    "RUN for d in dist-packages site-packages; do "
    f"mkdir -p {PACKAGES}/$d && echo '__version__ = \"7.1\"\\ndef double(n): return 2 * n' "
    f"> {PACKAGES}/$d/doubling.py; done\n"
)
RECIPES = {
    "package": ADDED,
    "broken-package": ADDED + f"RUN echo '1 / 0' | tee {PACKAGES}/*/doubling.py\n",
    "volume": "VOLUME /data\n",
    "no-python": "RUN mv /usr/bin/python3 /usr/bin/python-gone\n",
    "unreadable": "RUN chmod -R o-rx /usr/lib/python3*\n",
}


class Images:
    def __init__(self) -> None:
        self.client = connect()
        check_image(self.client, BASE)
        self.made: list[str] = []

    def make(self, name: str) -> str:
        tag = f"stepcoder-test-{name}:latest"
        if tag not in self.made:
            recipe = f"FROM {BASE}\n{RECIPES[name]}"
            self.client.images.build(
                fileobj=io.BytesIO(recipe.encode()), tag=tag, rm=True, network_mode="none"
            )
            self.made.append(tag)
        return tag

    def close(self) -> None:
        for tag in self.made:
            self.client.images.remove(tag, force=True)
        self.client.close()


@pytest.fixture(scope="module")
def images() -> Iterator[Images]:
    try:
        made = Images()
    except MissingEngine as error:
        pytest.skip(str(error))
    yield made
    made.close()


def finding(image: str, *packages: str) -> Finding:
    found = probes.docker(image, auto=False, packages=packages)
    return next(f for f in found if f.subject == "sandbox image")


def test_doctor_names_the_images_python_its_packages_and_its_user(images):
    image = images.make("package")
    told = finding(image, "doubling")
    assert told.mark is Mark.WORKS
    assert told.seen.startswith(f"{image}: Python 3.")
    assert ", doubling 7.1; programs run as user " in told.seen


def test_programs_import_an_images_packages(images):
    config = SandboxConfig(image=images.make("package"), containers=1)
    tests = TestSuite(inputs=("4\n",), outputs=("8\n",))

    async def judge() -> str:
        async with make_pool(config, "docker") as pool:
            source = "from doubling import double\nprint(double(int(input())))\n"
            return (await pool.judge(source, tests, problem_id="double")).outcome

    assert asyncio.run(judge()) == "passed"


BAD = {
    "volume": ((), "declares /data as a volume", "without VOLUME"),
    "no-python": ((), "python3", "Python 3.12 or newer"),
    "unreadable": ((), "cannot import hashlib", "chmod -R a+rX"),
    "package": (("numpy",), "lacks the package numpy", "make sandbox-image PACKAGES=numpy"),
    "broken-package": (("doubling",), "import doubling fails there: ZeroDivisionError", "fix"),
}


@pytest.mark.parametrize("name", BAD)
def test_doctor_says_what_is_wrong_with_an_image_and_how_to_mend_it(images, name):
    packages, seen, fix = BAD[name]
    told = finding(images.make(name), *packages)
    assert told.mark is Mark.FAILS
    assert seen in told.seen
    assert fix in told.fix
    assert len(str(told)) < 400
    assert "\n" not in told.seen


def test_a_missing_image_comes_with_the_commands_that_bring_it():
    try:
        connect().close()
    except MissingEngine as error:
        pytest.skip(str(error))
    told = finding("mine/none:1")
    assert told.mark is Mark.FAILS
    assert told.fix == "docker pull mine/none:1, or make sandbox-image IMAGE=mine/none:1"
