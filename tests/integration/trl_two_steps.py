"""Two steps of TRL's own GRPO trainer with our reward: `python trl_two_steps.py CHECKPOINT OUT`.

Run by test_drop_in_trl.py, in an environment that has TRL. Prints one JSON line.
"""

from __future__ import annotations

import json
import sys

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from sandbox.drop_in import UnitTestReward
from stepcoder_dist import problems


def main(checkpoint: str, out: str) -> None:
    some = problems.load("ladder:train?count=4")
    rows = [{"prompt": f"{p.statement}\n```python\n", "problem_id": p.problem_id} for p in some]
    asked = []
    with UnitTestReward(some, backend="process", containers=2) as reward:

        class Noted(UnitTestReward):
            def __call__(self, *args, **columns):
                rewards = super().__call__(*args, **columns)
                asked.append(rewards)
                return rewards

        reward.__class__ = Noted
        trainer = GRPOTrainer(
            model=checkpoint,
            reward_funcs=[reward],
            train_dataset=Dataset.from_list(rows),
            args=GRPOConfig(
                output_dir=out,
                max_steps=2,
                per_device_train_batch_size=4,
                num_generations=4,
                max_completion_length=8,
                logging_steps=1,
                save_strategy="no",
                report_to=[],
                use_cpu=True,
                bf16=False,
            ),
        )
        trainer.train()
    logged = [row["rewards/unit_tests/mean"] for row in trainer.state.log_history if "loss" in row]
    print(json.dumps({"step": trainer.state.global_step, "asked": asked, "logged": logged}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
