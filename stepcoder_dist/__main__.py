"""`python -m stepcoder_dist` and the `stepcoder` command."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 bad usage or config."""
    from stepcoder_dist.cli.commands import run

    if isinstance(sys.stdout, io.TextIOWrapper):
        # a set's texts hold what no terminal can show, such as half a surrogate pair
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
