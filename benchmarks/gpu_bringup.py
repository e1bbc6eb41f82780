"""What a quarter of an hour on one GPU can verify of the learner, without vLLM and Ray.

    python benchmarks/gpu_bringup.py [--seconds 540] [--only join,parity] [--out bringup.jsonl]
    python benchmarks/gpu_bringup.py --tiny          # any machine: does every part run?

Parts run one after the other, the most valuable first (gpu_parts.py has them), each in a process of
its own with its share of the seconds: one that hangs or dies costs its share and no more. Every
figure is a line of JSON at once, so that what was measured before the time is up is kept. The GPU
set needs no nvcc: the first part takes it off PATH and shows that nothing is compiled.

`--tiny` takes small shapes and whatever device there is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

SHARES = {
    "join": 30,
    "parity": 80,
    "memory": 150,
    "speed": 120,
    "logprobs": 30,
    "transfer": 40,
    "offload": 40,
    "checkpoint": 40,
}
"""Seconds of each part, of 540, in order of value."""


def main() -> int:
    arguments = parse()
    names = arguments.only.split(",") if arguments.only else list(SHARES)
    unknown = set(names) - set(SHARES)
    if unknown:
        print(f"no part {', '.join(sorted(unknown))}; the parts are {', '.join(SHARES)}")
        return 2
    scale = arguments.seconds / sum(SHARES.values())
    failed = 0
    with arguments.out.open("a", encoding="utf-8") as kept:
        for name in names:
            for line in run(name, SHARES[name] * scale, tiny=arguments.tiny):
                print(line, flush=True)
                kept.write(line + "\n")
                kept.flush()
                failed += '"failed"' in line
    return 1 if failed else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Parts: " + ", ".join(SHARES))
    parser.add_argument("--seconds", type=float, default=540, help="for all parts together")
    parser.add_argument("--only", default="", help="some parts, by name, with commas")
    parser.add_argument("--out", type=Path, default=Path("bringup.jsonl"))
    parser.add_argument("--tiny", action="store_true", help="small shapes, on any device")
    return parser.parse_args()


def run(name: str, limit_s: float, *, tiny: bool) -> list[str]:
    """The lines of one part, and how it ended."""
    began = time.monotonic()
    command = [sys.executable, str(Path(__file__).with_name("gpu_parts.py")), name]
    environment = {**os.environ, "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    with subprocess.Popen(
        [*command, *(["--tiny"] if tiny else [])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            out, err = process.communicate(timeout=limit_s)
            ended = "done" if process.returncode == 0 else "failed"
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            ended = "out of time"
    figures = [line for line in out.splitlines() if line.startswith("{")]
    seconds = round(time.monotonic() - began, 1)
    last = {"part": name, "ended": ended, "seconds": seconds}
    if ended == "failed":
        last["error"] = (err.strip().splitlines() or ["no word"])[-1]
    return [*figures, json.dumps(last)]


if __name__ == "__main__":
    sys.exit(main())
