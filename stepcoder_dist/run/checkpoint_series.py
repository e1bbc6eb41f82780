"""The checkpoints of a run or of a warm start, complete or absent.

checkpoints/step_000010/
  learner/      what the learner's ranks wrote
  run.json      the driver's state, JSON, written last; its name says whose checkpoint it is
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from stepcoder_dist.errors import RunError
from stepcoder_dist.host.files import atomic_file, draft_folder

_NAME = re.compile(r"step_[0-9]+")


def is_of_a_step(folder: Path) -> bool:
    """Return whether a folder has the name of a step's: a user's copy of one does not count."""
    return _NAME.fullmatch(folder.name) is not None


@dataclass(frozen=True, slots=True)
class CheckpointSeries:
    """One `checkpoints/` folder."""

    folder: Path
    state: str
    """Name of the file with the driver's state."""
    key: str
    """The key of the run file that says where the folder is."""

    def complete(self) -> list[Path]:
        """Return those that can be resumed, oldest first."""
        found = (path.parent for path in self.folder.glob(f"step_*/{self.state}"))
        return sorted(filter(is_of_a_step, found))

    def begin(self, step: int) -> Path:
        """Return an empty folder for the ranks to write `learner/` into.

        Invisible until `commit`.
        """
        return draft_folder.begin(self.folder / f"step_{step:06d}")

    def commit(self, draft: Path, state: str) -> Path:
        """Add the driver's state and make the checkpoint visible, at once; return its place.

        Raises `RunError` when the learner's part is not there.
        """
        if not any((draft / "learner").glob("*")):
            raise RunError(
                f"{draft / 'learner'}: the learner's ranks wrote nothing there; {self.key} has to "
                "be on a file system that all nodes share"
            )
        atomic_file.write_text(draft / self.state, state)
        return draft_folder.commit(draft)

    def sweep(self) -> None:
        """Remove what was begun and never committed. No writer may be alive."""
        draft_folder.sweep(self.folder)
