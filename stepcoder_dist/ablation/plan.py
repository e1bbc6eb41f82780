"""An ablation file and its cells: (setting, arm, seed), each with its run config.

    run = "ablation-base.toml"
    seeds = [0, 1]
    [[settings]]
    name = "ladder"
    [[arms]]
    name = "ppo"
    method = "ppo"

Everything is resolved and checked before anything is started.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationError

from stepcoder_dist.config import RunConfig, Section, Share, WrittenPath, keys
from stepcoder_dist.config.counts import fixed_for_arms
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.run import run_file

SFT = "sft"
"""The arm that is not trained: the others start from it. It is evaluated once in each setting."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Pair = Annotated[
    tuple[str, str], BeforeValidator(lambda pair: tuple(pair) if isinstance(pair, list) else pair)
]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Arm(Section):
    """One method that is compared."""

    name: Name
    method: str = ""
    """A preset of the run file's `method`; the arm's own keys override it."""
    set: tuple[str, ...] = ()
    """Overrides `a.b=value`, applied last."""


class Axis(Section):
    """One key of a grid of arms, with the values that are compared."""

    key: str
    values: tuple[str, ...]


class Setting(Section):
    """A condition under which arms are compared."""

    name: Name
    about: str = ""
    """A sentence for the tables."""
    set: tuple[str, ...] = ()
    """Overrides `a.b=value`, the same for every arm."""
    weak_tests: WrittenPath = ""
    """The held-out problems again, with tests like the training ones: a program that passes these
    and fails the held-out ones would have been rewarded for being wrong."""
    arms: tuple[str, ...] = ()
    """The arms that are measured here, by name; empty: all of them."""
    seeds: tuple[Seed, ...] = ()
    """The seeds that are measured here, of the file's; empty: all of them."""


class AblationFile(Section):
    """The contents of an ablation file."""

    name: Name
    run: WrittenPath
    """Run file of every cell; its path is relative to this file."""
    seeds: tuple[Seed, ...]
    out: WrittenPath = ""
    """Folder of the results; empty: docs/results/<name>."""
    page: WrittenPath = ""
    """Markdown file that gets the tables between two markers; empty: tables.md in `out`."""
    eval_every: Annotated[int, Field(ge=0)] = 0
    """Steps between evaluations on the held-out problems; 0: at the end only."""
    reach: Share = 0.5
    """The pass@1 for which the tables say how many samples it took."""
    compare: tuple[Pair, ...] = ()
    """Pairs of arms for the paired tests; empty: every two arms."""
    arms: tuple[Arm, ...] = ()
    grid: tuple[Axis, ...] = ()
    """One more arm for every combination of the axes' values, named after them."""
    settings: tuple[Setting, ...] = (Setting(name="main"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One measurement: a setting, an arm and a seed."""

    ablation: str
    """Name of the ablation."""
    setting: Setting
    arm: str
    method: str
    seed: int | None
    """The seed; None for the SFT model, which is not trained."""
    config: RunConfig
    eval_every: int
    path: Path
    """The file of its result."""

    def __str__(self) -> str:
        return " / ".join((self.setting.name, self.arm, *self._seeded))

    @property
    def _seeded(self) -> tuple[str, ...]:
        return () if self.seed is None else (f"seed {self.seed}",)

    @property
    def selection(self) -> list[str]:
        """The command-line options that select only this cell."""
        seed = [] if self.seed is None else ["--seed", str(self.seed)]
        return ["--setting", self.setting.name, "--arm", self.arm, *seed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An ablation file with its resolved cells."""

    source: Path
    file: AblationFile
    out: Path
    page: Path
    cells: tuple[Cell, ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of the arms, SFT first."""
        return (SFT, *(arm.name for arm in every_arm(self.file)))

    def pairs(self, setting: str) -> tuple[tuple[str, str], ...]:
        """Return the comparisons (A, B) that are tested in this setting: B over A."""
        names = list(dict.fromkeys(c.arm for c in self.cells if c.setting.name == setting))
        trained = [name for name in names if name != SFT]
        every_two = tuple((a, b) for i, a in enumerate(trained) for b in trained[i + 1 :])
        compared = self.file.compare or every_two
        return tuple(pair for pair in compared if set(pair) <= set(names))

    def select(self, setting: str = "", arm: str = "", seed: int | None = None) -> list[Cell]:
        """Return the selected cells. Raises `ConfigError` for names that do not occur."""
        known = {
            "setting": ([s.name for s in self.file.settings], setting),
            "arm": (list(self.arms), arm),
            "seed": ([str(s) for s in self.file.seeds], "" if seed is None else str(seed)),
        }
        for kind, (names, wanted) in known.items():
            if wanted and wanted not in names:
                raise ConfigError(
                    f"{self.source}: no {kind} {wanted}; there are {', '.join(names)}"
                )
        chosen = [
            cell
            for cell in self.cells
            if setting in ("", cell.setting.name)
            and arm in ("", cell.arm)
            and (seed is None or cell.seed == seed)
        ]
        if not chosen and arm == SFT:
            raise ConfigError(f"--arm {SFT} has no seed: it is not trained; leave --seed out")
        if not chosen:
            left_out = " ".join(filter(None, (arm, "" if seed is None else f"seed {seed}")))
            raise ConfigError(
                f"{self.source}: {setting or 'every setting'} leaves out {left_out}; add it to its "
                "arms, or to its seeds"
            )
        return chosen


def every_arm(file: AblationFile) -> tuple[Arm, ...]:
    """Return the arms that are named, then those of the grid."""
    combined = product(*(axis.values for axis in file.grid)) if file.grid else ()
    return file.arms + tuple(
        Arm(
            name="-".join(values),
            set=tuple(f"{axis.key}={v}" for axis, v in zip(file.grid, values, strict=True)),
        )
        for values in combined
    )


def load(path: Path) -> Plan:
    """Read an ablation file and resolve the run config of every cell.

    Raises `ConfigError`: one line for each mistake.
    """
    file = _read(path)
    _names_fit(path, file)
    out = Path(file.out or f"docs/results/{file.name}")
    cells = tuple(cell for setting in file.settings for cell in _cells(path, file, setting, out))
    return Plan(
        source=path,
        file=file,
        out=out,
        page=Path(file.page) if file.page else out / "tables.md",
        cells=cells,
    )


def _read(path: Path) -> AblationFile:
    tree = run_file.read_toml(
        path, "no such ablation file; deploy/runs/ablation.toml is the shipped one"
    )
    if "problems" in tree and "run" not in tree:
        raise ConfigError(
            f"{path}: a run file, and an ablation file is needed: one that names it with run = "
            '"…" (docs/ablation.md)'
        )
    try:
        return AblationFile.model_validate(tree)
    except ValidationError as error:
        lines = (run_file.error_line(path, each, "docs/ablation.md") for each in error.errors())
        raise ConfigError("\n".join(lines)) from None


def _names_fit(path: Path, file: AblationFile) -> None:
    """Check that every name occurs once, and that compared arms exist. Raises `ConfigError`."""
    try:
        arms = [arm.name for arm in every_arm(file)]
    except ValidationError as error:
        raise ConfigError(
            f"{path}: grid: an arm has its values as its name, which is of letters, digits, '.', "
            f"'_' and '-', and not {error.errors()[0]['input']!r}; write that arm as one of "
            "[[arms]], with a name and set"
        ) from None
    for kind, values in (
        ("seeds", [str(seed) for seed in file.seeds]),
        ("arms", arms),
        ("settings", [setting.name for setting in file.settings]),
    ):
        if not values:
            raise ConfigError(f"{path}: {kind} is empty; give at least one")
        twice = [value for value, times in Counter(values).items() if times > 1]
        if twice:
            raise ConfigError(f"{path}: {kind} has {twice[0]} twice; remove one")
    if SFT in arms:
        raise ConfigError(
            f"{path}: the arm {SFT} is always there: the model before training; rename yours"
        )
    for setting in file.settings:
        if more := sorted(set(setting.seeds) - set(file.seeds)):
            raise ConfigError(
                f"{path}: seeds of setting {setting.name} has {more[0]}, which is not among the "
                "file's seeds; add it there"
            )
    named = [("compare", name) for pair in file.compare for name in pair]
    named += [(f"arms of setting {s.name}", name) for s in file.settings for name in s.arms]
    for where, name in named:
        if name not in (SFT, *arms):
            raise ConfigError(
                f"{path}: {where} names {name}, which is no arm; there are "
                f"{', '.join((SFT, *arms))}"
            )


def _cells(path: Path, file: AblationFile, setting: Setting, out: Path) -> Iterator[Cell]:
    base = path.parent / file.run
    folder = out / setting.name
    common: list[tuple[str, RunConfig]] = []
    chosen = [arm for arm in every_arm(file) if not setting.arms or arm.name in setting.arms]
    for arm in (Arm(name=SFT), *chosen):
        preset = (f"method={arm.method}",) if arm.method else ()
        for seed in setting.seeds or file.seeds if arm.name != SFT else (None,):
            seeded = (f"seed={seed}",) if seed is not None else ()
            overrides = (*preset, *setting.set, *arm.set, *seeded)
            config = _resolve(base, overrides, f"{path}: {setting.name} / {arm.name}")
            name = SFT if seed is None else f"{arm.name}-seed{seed}"
            yield Cell(
                ablation=file.name,
                setting=setting,
                arm=arm.name,
                method=arm.method,
                seed=seed,
                config=config,
                eval_every=file.eval_every,
                path=folder / f"{name}.json",
            )
        common.append((arm.name, config))
    _comparable(path, setting, common)


def _resolve(base: Path, overrides: Sequence[str], where: str) -> RunConfig:
    try:
        return run_file.load(base, overrides)
    except ConfigError as error:
        raise ConfigError("\n".join(f"{where}: {line}" for line in str(error).splitlines())) from (
            None
        )


def _comparable(path: Path, setting: Setting, arms: Sequence[tuple[str, RunConfig]]) -> None:
    """Raise `ConfigError` where arms differ in model, number of samples or how they are judged."""
    (_, first), *others = ((name, keys.values(config)) for name, config in arms)
    for name, each in others:
        # the seed counts for an evaluation, and is each cell's own
        for key in keys.differences(first, each | {"seed": first["seed"]}, fixed_for_arms):
            raise ConfigError(
                f"{path}: {setting.name} / {name}: {key.key} = {key.here!r}, and {key.there!r} "
                "for the others; an arm may not change it"
            )
