"""What the commands that read problem sets hold in memory, against the size of the file.

    python benchmarks/data_memory.py [--sizes 10,100,1000] [--only inspect] [--folder DIR]
    python benchmarks/data_memory.py --sizes 2,10,50 --only refine    (needs Docker)

Makes a file of each size (MB) with problems of about 20 kB, has each command read it in a process
of its own, and prints the most memory that the process ever had resident, the seconds it took, and
the ratio of the largest file's memory to the smallest file's. Flat means: near 1, whatever the
size.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

MB = 10**6
TESTS = 8
TEST_CHARS = 1200

COMMANDS = {
    "inspect": (
        "from stepcoder_dist.cli import commands as cli; "
        "done = cli.run(['data', 'inspect', path, '--json'])"
    ),
    "curriculum": (
        "from stepcoder_dist.cli import commands as cli; "
        "done = cli.run(['data', 'inspect', path, '--curriculum', '--json'])"
    ),
    "overlap": (
        "from stepcoder_dist.cli import commands as cli; "
        "done = cli.run(['data', 'overlap', path, 'ladder:heldout?count=100', '--json'])"
    ),
    "refine": (
        "from stepcoder_dist.cli import commands as cli; out = str(path) + '.out/set.jsonl'; "
        "done = cli.run(['data', 'refine', str(path), '--out', out])"
    ),
    "judge's problems": (
        "from stepcoder_dist.problems.store import read_problems as read; "
        "store = read(Path(path)); "
        "done = sum(len(store[name].tests) == 0 for name in store)"
    ),
}
# the kernel's high-water mark of this program alone: getrusage counts the parent's, from before
# the exec, as well
PROBE = """
import sys
from pathlib import Path
path = sys.argv[1]
{command}
assert done == 0, done
status = Path("/proc/self/status").read_text()
print(status.partition("VmHWM:")[2].split()[0], file=sys.stderr)
"""


def write_set(path: Path, size: int) -> int:
    """Write a JSONL set of about `size` bytes; return how many problems it has."""
    chosen = random.Random(0)
    written = count = 0
    with path.open("w") as file:
        while written < size:
            texts = ["".join(chosen.choices("0123456789 \n", k=TEST_CHARS)) for _ in range(TESTS)]
            branches = "".join(
                f"if n > {chosen.randrange(10**6)}:\n    n -= {chosen.randrange(10**6)}\n"
                for _ in range(chosen.randrange(1, 40))
            )
            solution = (
                f"import sys\ntext = sys.stdin.read()\nn = len(text)\n{branches}"
                "sys.stdout.write(text)\n"
            )
            row = {
                "problem_id": f"apps/{count}",
                "prompt": "".join(chosen.choices("abcdefgh ", k=2000)),
                "difficulty": chosen.choice(["introductory", "interview", "competition"]),
                "canonical_solution": solution,
                "fn_name": None,
                "inputs": texts,
                "outputs": texts,
            }
            line = json.dumps(row) + "\n"
            file.write(line)
            written += len(line)
            count += 1
    return count


def peak_mb(command: str, path: Path) -> tuple[float, float]:
    """Most resident memory of the command's process in MB, and its seconds."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(command=COMMANDS[command]), str(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return int(done.stderr.split()[-1]) * 1024 / MB, time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", default="10,100,1000", help="of the files, in MB")
    parser.add_argument("--only", choices=sorted(COMMANDS), action="append")
    parser.add_argument("--folder", help="where the files are made; default: the temporary one")
    chosen = parser.parse_args()
    sizes = sorted(int(size) for size in chosen.sizes.split(","))
    table = Table(title="most memory resident, MB (seconds)")
    for column in ("command", *(f"{size} MB file" for size in sizes), "ratio"):
        table.add_column(column, justify="left" if column == "command" else "right")
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        files = {size: Path(folder) / f"{size}.jsonl" for size in sizes}
        counts = [write_set(path, size * MB) for size, path in files.items()]
        table.add_row("problems", *map(str, counts), "", end_section=True)
        for command in chosen.only or (name for name in COMMANDS if name != "refine"):
            found = [peak_mb(command, path) for path in files.values()]
            cells = [f"{peak:.0f} ({seconds:.1f})" for peak, seconds in found]
            table.add_row(command, *cells, f"{found[-1][0] / found[0][0]:.2f}")
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    main()
