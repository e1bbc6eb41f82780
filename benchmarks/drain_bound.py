"""The most that `weights.on_update = "finish"` can reach, from the lengths of samples alone.

    python benchmarks/drain_bound.py [--places 16] [--samples 128] [--p99 8] [--cut 12]

Before an engine takes weights its sequences end: places are empty from the end of their own
sequence to that of the engine's longest. Under way are long sequences more often than short ones
(in proportion to their length), each at a uniform point of its length. So one swap costs an engine
E[max of what is left of its sequences] - E[what is left of one], whatever else is in order, and
however swaps are spread over the engines. `--samples` are those of a step that one engine makes.

Printed: what is left of full speed with a swap every 1, 2 and 4 steps, nothing else in the way.
Lengths are log-normal with the given 99th percentile, cut, in medians.
"""

from __future__ import annotations

import argparse
import math

import numpy as np

DRAWS = 200_000


def kept_share(places: int, samples: int, p99: float, cut: float) -> tuple[float, list[float]]:
    """Return the seconds that a swap costs, in medians, and the shares that are kept."""
    rng = np.random.default_rng(0)
    sigma = math.log(p99) / 2.326
    lengths = np.minimum(rng.lognormal(0.0, sigma, DRAWS), cut)
    step = samples / places * float(lengths.mean())
    under_way = rng.choice(lengths, (DRAWS // places, places), p=lengths / lengths.sum())
    left = under_way * rng.uniform(size=under_way.shape)
    lost = float(left.max(axis=1).mean() - left.mean())
    return lost, [step / (step + lost / every) for every in (1, 2, 4)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--places", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--samples", type=int, default=128, help="of a step, an engine")
    parser.add_argument("--p99", type=float, default=8.0, help="medians")
    parser.add_argument("--cut", type=float, default=12.0, help="medians")
    arguments = parser.parse_args()
    for places in arguments.places:
        lost, shares = kept_share(places, arguments.samples, arguments.p99, arguments.cut)
        print(
            f"{places} places: a swap costs {lost:.1f} medians; with one every 1, 2, 4 steps "
            + ", ".join(f"{share:.0%}" for share in shares)
            + " are left"
        )


if __name__ == "__main__":
    main()
