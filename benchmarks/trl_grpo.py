"""Steps of TRL's GRPO on a folder's model, for `end_to_end.py`, which runs it in TRL's own venv.

    PYTHON benchmarks/trl_grpo.py SETTINGS.json

Prints a JSON line for each step: wall-clock seconds, and processor seconds of this process and of
its children that have ended; of both, what is training: all but generation and rewards.
`settings["reward"]`: `exec` runs a program in this process, as in-process checkers do, which is no
sandbox; `subprocess` starts a Python for each test. With `settings["lengths"]` the samples are
random tokens.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SETTINGS = json.loads(Path(sys.argv[1]).read_text())
TIMEOUT_S = 2
"""As ours has. A program that reaches it once is not run on its other tests."""


def program_of(completion: str) -> str:
    return completion.split("```", 1)[0]


def too_long(*_: object) -> None:
    raise TimeoutError


def by_exec(source: str, given: str) -> str | None:
    """Return what a program writes, None where it raises. `TimeoutError`: an alarm ended it."""
    out = io.StringIO()
    stdin, sys.stdin = sys.stdin, io.StringIO(given)
    signal.signal(signal.SIGALRM, too_long)
    try:
        signal.setitimer(signal.ITIMER_REAL, TIMEOUT_S, 0.1)  # again: the program may catch it
        with contextlib.redirect_stdout(out):
            exec(source, {"__name__": "__main__"})  # noqa: S102
    except TimeoutError:
        raise
    except BaseException:  # noqa: BLE001 (whatever a program raises is a result)
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stdin = stdin
    return out.getvalue()


def by_subprocess(source: str, given: str) -> str | None:
    command = [sys.executable, "-I", "-S", "-c", source]
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    return done.stdout if done.returncode == 0 else None


RUN = {"exec": by_exec, "subprocess": by_subprocess}[SETTINGS.get("reward", "exec")]


def score(source: str, inputs: list[str], outputs: list[str]) -> float:
    try:
        compile(source, "program", "exec")
    except (SyntaxError, ValueError):
        return -1.0
    try:
        found = [RUN(source, given) for given in inputs]
    except TimeoutError:
        return -0.6
    if any(each is None for each in found):
        return -0.6
    pairs = zip(found, outputs, strict=True)
    right = all(str(each).split() == wanted.split() for each, wanted in pairs)
    return 1.0 if right else -0.3


def reward(
    completions: list[str], inputs: list[list[str]], outputs: list[list[str]], **_: Any
) -> list[float]:
    rows = zip(completions, inputs, outputs, strict=True)
    return [score(program_of(text), given, wanted) for text, given, wanted in rows]


def fixed_rollouts(prompts: list[Any], trainer: Any) -> dict[str, Any]:
    """Random tokens of fixed lengths instead of samples: for the training part alone."""
    import torch

    prompt, completion = SETTINGS["lengths"]
    ids = torch.randint(20, SETTINGS["vocabulary"], (len(prompts), prompt + completion)).tolist()
    group = trainer.num_generations
    return {
        "prompt_ids": [ids[i // group * group][:prompt] for i in range(len(prompts))],
        "completion_ids": [each[prompt:] for each in ids],
        "logprobs": None,
    }


def uneven(completions: list[str], **_: Any) -> list[float]:
    """Rewards that differ within a group, so that nothing is skipped."""
    return [1.0 if i % 2 else -0.3 for i in range(len(completions))]


def main() -> None:
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    def now() -> tuple[float, float]:
        return time.perf_counter(), sum(os.times()[:4])

    apart = [0.0, 0.0]
    """Seconds of generation and rewards in this step."""

    class Trainer(GRPOTrainer):  # type: ignore[misc]
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            began = now()
            try:
                return super()._generate_and_score_completions(inputs)
            finally:
                for clock, (start, end) in enumerate(zip(began, now(), strict=True)):
                    apart[clock] += end - start

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = now()
            apart[:] = [0.0, 0.0]

        def on_step_end(self, *_: Any, **__: Any) -> None:
            wall, used = (end - start for start, end in zip(self.began, now(), strict=True))
            took = {
                "wall_s": wall,
                "processor_s": used,
                "training_wall_s": wall - apart[0],
                "training_processor_s": used - apart[1],
            }
            print("STEP " + json.dumps(took), flush=True)

    torch.set_num_threads(SETTINGS["threads"])
    samples, epochs = SETTINGS["samples"], SETTINGS["epochs"]
    trainer = Trainer(
        model=SETTINGS["model"],
        reward_funcs=uneven if "lengths" in SETTINGS else reward,
        rollout_func=fixed_rollouts if "lengths" in SETTINGS else None,
        train_dataset=Dataset.from_list(SETTINGS["rows"]),
        args=GRPOConfig(
            output_dir=SETTINGS["out"],
            model_init_kwargs={"dtype": SETTINGS["dtype"]},
            use_cpu=True,
            bf16=False,
            per_device_train_batch_size=samples // SETTINGS["updates"],
            generation_batch_size=samples,
            num_generations=SETTINGS["group"],
            num_iterations=epochs,
            max_steps=SETTINGS["steps"] * epochs * SETTINGS["updates"],
            max_completion_length=SETTINGS["max_new_tokens"],
            temperature=1.0,
            beta=SETTINGS["beta"],
            learning_rate=SETTINGS["learning_rate"],
            gradient_checkpointing=False,
            seed=SETTINGS["seed"],
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        callbacks=[Clock()],
    )
    trainer.train()


if __name__ == "__main__":
    main()
