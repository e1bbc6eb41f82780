"""What a run file can say: a frozen pydantic tree. Unknown keys are refused, units are in names.

`run_file.load` reads it from TOML. The docstrings of the keys are docs/config.md (`make docs`).
Imports nothing heavy: a mistake is refused before torch, ray or vllm are touched. Open, in this
order:

    run.py          the tree: its sections, and every check that spans them
    model.py          [model]
    problems.py       [problems], [prompt]
    method.py         [curriculum], [credit], [reward], [sampling]
    pools.py          [actors], [sandbox]
    learner.py        [learner], [weights]
    lora.py           [learner.lora]
    commands.py       [train], [sft], [evaluation]
    hardware.py       [hardware]
    section.py      what a section is
    counts.py       what a key counts for: may another value resume a run, which results are others
    keys.py         the tree as dotted keys, and where two of them differ in what counts
"""

from stepcoder_dist.config.commands import EvalConfig, SftConfig, SftPhase, TrainConfig
from stepcoder_dist.config.hardware import GpuName, HardwareConfig
from stepcoder_dist.config.learner import LearnerConfig, WeightsConfig
from stepcoder_dist.config.lora import LoraConfig
from stepcoder_dist.config.method import (
    CreditConfig,
    CurriculumConfig,
    RewardConfig,
    SamplingConfig,
)
from stepcoder_dist.config.model import VLLM_CPU_HEAD_SIZES, ModelConfig, ModelShape, TinyModel
from stepcoder_dist.config.pools import (
    MOST_CONTAINERS,
    ActorsConfig,
    Backend,
    ProcessResources,
    SandboxConfig,
    splits_over,
)
from stepcoder_dist.config.problems import ProblemsConfig, PromptConfig
from stepcoder_dist.config.run import RunConfig
from stepcoder_dist.config.section import (
    NonNegativeFloat,
    Positive,
    PositiveFloat,
    Section,
    Share,
    WrittenPath,
)

__all__ = [
    "MOST_CONTAINERS",
    "VLLM_CPU_HEAD_SIZES",
    "ActorsConfig",
    "Backend",
    "CreditConfig",
    "CurriculumConfig",
    "EvalConfig",
    "GpuName",
    "HardwareConfig",
    "LearnerConfig",
    "LoraConfig",
    "ModelConfig",
    "ModelShape",
    "NonNegativeFloat",
    "Positive",
    "PositiveFloat",
    "ProblemsConfig",
    "ProcessResources",
    "PromptConfig",
    "RewardConfig",
    "RunConfig",
    "SamplingConfig",
    "SandboxConfig",
    "Section",
    "SftConfig",
    "SftPhase",
    "Share",
    "TinyModel",
    "TrainConfig",
    "WeightsConfig",
    "WrittenPath",
    "splits_over",
]
