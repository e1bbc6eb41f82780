"""What line coverage costs programs that compute.

    python benchmarks/coverage_cost.py [--rounds 15] [--image NAME]

Each program runs in one warm container with and without line tracing, in turn, so that whatever
else the machine does meets both alike. Prints processor seconds of the test with each (the least
of the rounds: noise only adds), their ratio, and the geometric mean of the ratios.
"""

from __future__ import annotations

import argparse
import dataclasses
import math

from rich.console import Console
from rich.table import Table

from sandbox.containers.container import Container, connect
from sandbox.judging import judge
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.records import Limits, Outcome, TestSuite

PROGRAMS = {
    "one tight loop": """\
total = 0
for i in range(2_000_000):
    if i % 3 == 1:
        total += i * 7
    else:
        total -= i
""",
    "sieve": """\
n = 1_400_000
sieve = bytearray([1]) * n
for i in range(2, int(n ** 0.5) + 1):
    if sieve[i]:
        for j in range(i * i, n, i):
            sieve[j] = 0
primes = [i for i in range(2, n) if sieve[i]]
""",
    "recursion": """\
def fib(n):
    if n < 2:
        return n
    return fib(n - 1) + fib(n - 2)

fib(31)
""",
    "dynamic programming": """\
a = [i * 7919 % 26 for i in range(1000)]
b = [i * 104729 % 26 for i in range(1000)]
best = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
for i, x in enumerate(a):
    row, above = best[i + 1], best[i]
    for j, y in enumerate(b):
        if x == y:
            row[j + 1] = above[j] + 1
        else:
            row[j + 1] = max(row[j], above[j + 1])
""",
    "breadth-first search": """\
from collections import deque

size = 350
seen = {(0, 0)}
queue = deque(seen)
while queue:
    x, y = queue.popleft()
    for dx, dy in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        nx, ny = x + dx, y + dy
        if 0 <= nx < size and 0 <= ny < size and (nx, ny) not in seen:
            seen.add((nx, ny))
            queue.append((nx, ny))
""",
    "objects and methods": """\
class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def plus(self, other):
        return Point(self.x + other.x, self.y + other.y)

    def norm(self):
        return abs(self.x) + abs(self.y)

at, far = Point(0, 0), 0
for i in range(400_000):
    at = at.plus(Point(i % 7 - 3, i % 5 - 2))
    far = max(far, at.norm())
""",
    "strings and dictionaries": """\
counts = {}
for i in range(600_000):
    word = f"w{i * 7919 % 1009}"
    counts[word] = counts.get(word, 0) + 1
ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
text = " ".join(f"{word}:{count}" for word, count in ranked)
""",
    "generators": """\
def collatz(n):
    while n != 1:
        yield n
        n = n // 2 if n % 2 == 0 else 3 * n + 1

longest = max(range(1, 20000), key=lambda n: sum(1 for _ in collatz(n)))
""",
    "new code all the time": """\
total = 0
for i in range(1000):
    exec(f"def f(x):\\n    y = x + {i}\\n    return y * 2\\n")
    total += f(i)
total += sum(i * i for i in range(2_500_000))
""",
    "many exceptions": """\
wrong = 0
for i in range(900_000):
    try:
        if i % 3 == 0:
            raise ValueError(i)
        int("12")
    except ValueError:
        wrong += 1
""",
}
TEST = TestSuite(inputs=("",), outputs=("",))


def cpu_ms(container: Container, source: str, limits: Limits) -> float:
    verdict = judge(container.run, source, TEST, limits)
    assert verdict.outcome is Outcome.PASSED, verdict
    return verdict.tests[0].cpu_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--image", default="stepcoder-sandbox:latest")
    chosen = parser.parse_args()
    traced = SandboxConfig().limits
    plain = dataclasses.replace(traced, coverage=False)
    table = Table(title=f"processor time of one test, least of {chosen.rounds} rounds in turn")
    for column in ("program", "without, ms", "with, ms", "ratio"):
        table.add_column(column, justify="left" if column == "program" else "right")
    client = connect()
    container = Container(client, chosen.image, traced)
    ratios = []
    try:
        for name, source in PROGRAMS.items():
            taken: dict[bool, list[float]] = {True: [], False: []}
            for turn in range(chosen.rounds):
                for limits in (traced, plain) if turn % 2 else (plain, traced):
                    taken[limits.coverage].append(cpu_ms(container, source, limits))
            without, with_lines = min(taken[False]), min(taken[True])
            ratios.append(with_lines / without)
            table.add_row(name, f"{without:.1f}", f"{with_lines:.1f}", f"{ratios[-1]:.3f}")
    finally:
        container.close()
        client.close()
    table.add_section()
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    table.add_row("geometric mean", "", "", f"{mean:.3f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
