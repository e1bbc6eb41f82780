"""Run by a guest's Python: what programs write, and their exit codes, under `program_state`.

Standard library only, as the guest is. Each program gets a child of its own, which an earlier run
of an empty program has used already, as a child that runs several tests.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from types import ModuleType

GIVEN = b"7\n"


def with_descriptor(content: bytes) -> int:
    descriptor = os.memfd_create("test")
    os.pwrite(descriptor, content, 0)
    return descriptor


def run(source: str, stdin: int, stdout: int, program_state: ModuleType) -> int:
    kept = [program_state.fresh("__main__", stdin, stdout)]
    code = 0
    try:
        try:
            exec(compile(source, "program.py", "exec", dont_inherit=True), vars(kept[0]))
        finally:
            program_state.script_ended()
    except SystemExit as left:
        code = left.code or 0  # type: ignore[assignment]
    return 120 if program_state.finish(kept) is not None else code


def ended(source: str, program_state: ModuleType) -> tuple[str, int]:
    nothing, stdin, stdout = with_descriptor(b""), with_descriptor(GIVEN), with_descriptor(b"")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.dup2(nothing, 2)
            run("", nothing, nothing, program_state)
            code = run(source, stdin, stdout, program_state)
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    written = os.pread(stdout, 2**20, 0).decode()
    for descriptor in (nothing, stdin, stdout):
        os.close(descriptor)
    return written, code


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    from sandbox.guest import program_state

    sources = json.load(sys.stdin)
    gc.freeze()
    print(json.dumps([ended(source, program_state) for source in sources]))


if __name__ == "__main__":
    main()
