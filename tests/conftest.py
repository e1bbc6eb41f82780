"""Fixtures that more than one suite uses: a tiny checkpoint, a local Ray."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from stepcoder_dist.host import collector

PASSED_BY_MARKER: Counter[str] = Counter()
SKIPPED_BY_MARKER: Counter[str] = Counter()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require",
        default="",
        metavar="MARKERS",
        help="fail unless tests with each of these markers ran and none of them was skipped",
    )
    parser.addoption(
        "--screenshots", metavar="DIR", help="keep the report's pictures there (docs/report.md)"
    )
    parser.addoption(
        "--screenshots-of", metavar="RUN_DIR", help="a run to picture instead of the fixture's"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The GPU set's vLLM runs on GPUs only: tests of engines on the CPU would all fail with it."""
    try:
        metadata.version("vllm")
    except metadata.PackageNotFoundError:
        return
    reason = "the installed vLLM is built for GPUs: `make test` with the CPU set runs this"
    for item in items:
        if item.get_closest_marker("vllm") and not item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(hookwrapper=True)
def pytest_collection() -> Iterator[None]:
    """Half of the seconds of collecting would go into garbage that is none."""
    with collector.resting():
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()
    report.markers = sorted({marker.name for marker in item.iter_markers()})


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count in the process that ends the session: its workers send it their reports."""
    markers = set(report.__dict__.get("markers", ()))
    if markers & {"gpu", "published"}:
        return
    if report.when == "call" and report.passed:
        PASSED_BY_MARKER.update(markers)
    elif report.skipped:
        SKIPPED_BY_MARKER.update(markers)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):
        return  # a worker of pytest-xdist sees a part of the tests
    required = [name for name in session.config.getoption("--require").split(",") if name]
    for name in required:
        if not PASSED_BY_MARKER[name] or SKIPPED_BY_MARKER[name]:
            print(
                f"\nrequired marker {name!r}: {PASSED_BY_MARKER[name]} passed, "
                f"{SKIPPED_BY_MARKER[name]} skipped"
            )
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


LOCAL_RAY: dict[str, Any] = {
    "address": "local",
    "num_cpus": 8,
    "include_dashboard": False,
    "log_to_driver": True,
    "_system_config": {"prestart_worker_first_driver": False},  # as in a run
}
CORPUS = [
    "n = int(input())\nif n % 2 == 0:\n    n = n + 3\nelse:\n    n = n - 4\nprint(n)\n",
    "read n . if n is even add 3 . if n is above 7 multiply by 2 else subtract 4 . print n",
    "```python\ndef f(x):\n    for i in range(x):\n        x += i\n    return x\n```\n",
]


@pytest.fixture(scope="session")
def tiny_tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE of about 300 entries, as a Hugging Face folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    folder = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|pad|>"
    ).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer_folder: Path) -> Path:
    """A random two-layer Qwen2 (head_dim 32) in float32, as a Hugging Face folder."""
    from learner import tiny_model
    from stepcoder_dist.config import TinyModel

    out = tmp_path_factory.mktemp("checkpoint")
    tiny = TinyModel(
        hidden_size=64, layers=2, heads=2, kv_heads=2, intermediate_size=128, max_positions=512
    )
    tiny_model.create(tiny, tiny_tokenizer_folder, out, seed=0)
    return out


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray of this test run's own: never joins one that is already running."""
    import ray

    ray.init(**LOCAL_RAY)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def no_local_ray() -> Iterator[None]:
    """Room for a Ray that a module starts itself: the test run's own is away meanwhile."""
    import ray

    there = ray.is_initialized()
    ray.shutdown()
    yield
    ray.shutdown()
    if there:
        ray.init(**LOCAL_RAY)
