"""Seconds of a GRPO step, rollouts and rewards and update, next to TRL's GRPO on the same CPU.

    python -m venv .venv-trl
    .venv-trl/bin/pip install torch==2.13.0+cpu trl==1.16.0 "transformers<5.20" datasets accelerate
    python benchmarks/end_to_end.py --trl .venv-trl/bin/python [--model tiny|135m] [--steps 5]
        [--rounds 2] [--dtype float32|bfloat16] [--rewards exec subprocess] [--staleness 0 1]

Both sides have the same model, prompts (`ladder` problems), group size, lengths, temperature,
number of updates, threads and dtype, and no KL. Ours is `stepcoder train` with everything that it
does: the sandbox, ledger, coverage, a push. With `--staleness 1` the samples of the next step are
made while this one is trained, by weights one version older; TRL's trainer has no such choice.
TRL (1.16, transformers' generation) has two rewards: `exec` runs programs in the trainer's process,
with an alarm and no other protection; `subprocess` starts a Python for each test. The sides take
turns, a run each, `--rounds` times. The first step of a run warms, and the last of ours is not
counted, since the run ends while it is looked at.

Medians are shown: seconds of a step; processor seconds (ours: of every process of the run, but for
what Docker runs in containers); and seconds of the training in it, all but generation and rewards.

`tiny` is the demo's model, `135m` the folder of `make model`.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from stepcoder_dist import problems
from stepcoder_dist.config import RunConfig
from stepcoder_dist.run.preflight import prompt_writer
from stepcoder_dist.run.run_file import load
from stepcoder_dist.text.tokenization import load_tokenizer

ROOT = Path(__file__).parents[1]
LADDER = "ladder:train?conditionals=1-3&count=400&kinds=if,if-else&calls=0"
RUN_FILES = {"tiny": "demo.toml", "135m": "smollm2_mbpp.toml"}
SIZES = {"tiny": (128, 160, 2, 2), "135m": (32, 128, 1, 1)}
"""Samples of a step, new tokens, epochs, updates of an epoch."""
TICKS = os.sysconf("SC_CLK_TCK")
Steps = list[dict[str, float]]


def changes(given: argparse.Namespace, staleness: int) -> dict[str, Any]:
    """What both models' run files are changed by."""
    samples, tokens, epochs, updates = SIZES[given.model]
    return {
        "name": "end-to-end",
        "method": "grpo",
        "model.dtype": given.dtype,
        "problems.train": LADDER,
        "problems.heldout": LADDER,
        "sampling.max_new_tokens": tokens,
        "actors.threads": given.threads,
        "actors.number": 1,
        "learner.threads": given.threads,
        "learner.packing": "true",
        "learner.cpu_products": "onednn",
        "learner.microbatch_tokens": 8192,
        "learner.samples_per_step": samples,
        "learner.minibatch_samples": samples // updates,
        "learner.epochs": epochs,
        "learner.kl_beta": 0.0,
        "train.steps": given.steps + 2,
        "train.checkpoint_every": 0,
        "train.max_staleness": staleness,
    } | ({"model.sft_path": ""} if given.model == "135m" else {})


def sets(given: argparse.Namespace, staleness: int) -> list[str]:
    return [f"{key}={value}" for key, value in changes(given, staleness).items()]


def processor_s(root: int) -> float:
    """Processor seconds of a process, of those below it, and of their children that have ended."""
    parents, used = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
        used[int(folder.name)] = sum(map(int, fields[11:15])) / TICKS
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(used.get(pid, 0.0) for pid in family)


def ours(given: argparse.Namespace, staleness: int, folder: Path) -> Steps:
    """Run `stepcoder train`; watch metrics.jsonl for the moments at which steps end."""
    run = folder / "run"
    arguments = ["train", str(ROOT / "deploy" / "runs" / RUN_FILES[given.model])]
    options = [
        part for each in [*sets(given, staleness), f"run_dir={run}"] for part in ("--set", each)
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "stepcoder_dist", *arguments, *options],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=os.environ | {"RAY_ADDRESS": ""},
        )
        ended: list[float] = []
        rows: list[dict[str, float]] = []
        while process.poll() is None:
            time.sleep(0.05)
            file = run / "metrics.jsonl"
            lines = file.read_text().splitlines() if file.exists() else []
            if len(lines) > len(rows):
                rows = [json.loads(line) for line in lines]
                ended.append(processor_s(process.pid))
    assert process.returncode == 0, (folder / "log").read_text()[-3000:]
    assert len(ended) == len(rows) == given.steps + 2, "a step ended unseen"
    # when the last one is seen, processes have begun to end, which takes them seconds
    used = [after - before for before, after in itertools.pairwise(ended[:-1])]
    return [
        {
            "wall_s": row["step_s"],
            "processor_s": seconds,
            "training_wall_s": row["seconds/learner"],
        }
        for row, seconds in zip(rows[1:-1], used, strict=True)
    ]


def trl_settings(given: argparse.Namespace, config: RunConfig, reward: str) -> dict[str, Any]:
    samples, tokens, epochs, updates = SIZES[given.model]
    checkpoint = str((ROOT / (config.model.sft_path or config.model.path)).resolve())
    tokenizer = load_tokenizer(checkpoint).backend
    writer = prompt_writer(config, checkpoint)
    rows = []
    for problem in problems.load(LADDER):
        ids = [int(token) for token in writer.encode(problem, None)[0]]
        rows.append(
            {
                "prompt": tokenizer.decode(ids, skip_special_tokens=False),
                "inputs": list(problem.tests.inputs),
                "outputs": list(problem.tests.outputs),
            }
        )
    return {
        "model": checkpoint,
        "rows": rows,
        "reward": reward,
        "dtype": given.dtype,
        "threads": given.threads,
        "samples": samples,
        "updates": updates,
        "epochs": epochs,
        "group": config.sampling.samples_per_problem,
        "max_new_tokens": tokens,
        "beta": 0.0,
        "learning_rate": config.learner.policy_lr,
        "steps": given.steps + 1,
        "seed": 0,
    }


def trl(given: argparse.Namespace, config: RunConfig, reward: str, folder: Path) -> Steps:
    settings = trl_settings(given, config, reward) | {"out": str(folder / "out")}
    file = folder / "settings.json"
    file.write_text(json.dumps(settings))
    done = subprocess.run(
        [given.trl, str(Path(__file__).with_name("trl_grpo.py")), str(file)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": str(given.threads), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    updates = [
        json.loads(line.removeprefix("STEP "))
        for line in done.stdout.splitlines()
        if line.startswith("STEP ")
    ]
    each = settings["epochs"] * settings["updates"]  # optimizer updates of a step of ours
    steps = [updates[at : at + each] for at in range(0, len(updates), each)]
    return [{key: sum(u[key] for u in step) for key in step[0]} for step in steps[1:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trl", required=True, metavar="PYTHON")
    parser.add_argument("--model", choices=RUN_FILES, default="tiny")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rewards", nargs="+", default=["exec", "subprocess"])
    parser.add_argument("--staleness", nargs="+", type=int, default=[0])
    given = parser.parse_args()
    config = load(ROOT / "deploy" / "runs" / RUN_FILES[given.model], sets(given, 0))
    ways = {f"ours, staleness {k}": functools.partial(ours, given, k) for k in given.staleness} | {
        f"TRL, {r}": functools.partial(trl, given, config, r) for r in given.rewards
    }
    base_side = next(iter(ways))
    found: dict[str, Steps] = {side: [] for side in ways}
    for turn in range(given.rounds):
        for side, way in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                steps = way(Path(folder))
            found[side] += steps
            print(f"round {turn + 1}, {side}: {json.dumps(steps)}", flush=True)
    table = Table(title=f"{given.model}, {given.dtype}, {given.threads} threads: a step")
    for column in (
        "",
        "seconds",
        "over ours",
        "processor s",
        "over ours",
        "of training",
        "over ours",
    ):
        table.add_column(column, justify="right")
    for side in ways:
        cells = []
        for clock in ("wall_s", "processor_s", "training_wall_s"):
            value, base = (statistics.median(s[clock] for s in found[n]) for n in (side, base_side))
            cells += [f"{value:.2f}", f"{value / base:.2f}"]
        table.add_row(side, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
