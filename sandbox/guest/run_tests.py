"""The child: compile one program, describe it, run its tests. It is unprivileged by now.

Everything that it reports goes into shared memory and files in memory, so nothing is lost when it
is killed. The description is sealed before the program's first line runs. Tests run in order, each
with fresh globals. A program that leaves state behind (`source_traits`) runs only its first test
here, and the host asks for a process for each of the others.
"""

from __future__ import annotations

import ast
import fcntl
import gc
import json
import mmap
import os
import resource
import sys
import time
import warnings
from dataclasses import dataclass
from types import CodeType, ModuleType
from typing import Any, NoReturn

from sandbox.guest import (
    function_calls,
    plain_data,
    program_state,
)
from sandbox.guest.function_calls import ScriptServer
from sandbox.guest.layout import (
    DETAIL_BYTES,
    MEDDLED,
    PHASE,
    RECORD,
    START,
    Claim,
    Phase,
    read_all,
    record_offset,
    stride,
)
from sandbox.guest.line_tracer import LineTracer, lines_with_code
from sandbox.guest.source import likeness, source_traits, structure, tracing_reach
from sandbox.guest.source.statement_lines import physical_lines

SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

# bound early: the program can patch what it finds by name
_monotonic_ns, _cpu_ns = time.monotonic_ns, time.process_time_ns
_MAXIMUM_EXIT_CODE = 255
_C_LONG = 2**63
_CANNOT_FLUSH = 120
"""The interpreter's exit code when standard output cannot be written at exit."""


@dataclass(frozen=True, slots=True)
class Files:
    """Descriptors of files in memory, and the memory shared with the zygote."""

    program: int
    inputs: list[int]
    answers: list[int]
    structure: int
    scratch: int
    """Standard output of call tests, which nobody reads."""
    nothing: int
    """The descriptor of /dev/null."""
    block: mmap.mmap
    lines: mmap.mmap
    calls: tuple[int, int] | None = None
    """The pipes from and to an assert script, which then calls the program instead of us."""


def run(files: Files, line_count: int, output_bytes: int) -> NoReturn:
    """Run the program's tests and leave the process, with the last test's exit code."""
    child = _Child(files, line_count, output_bytes)
    child.run()
    os._exit(child.exit_code)


class _Child:
    def __init__(self, files: Files, line_count: int, output_bytes: int) -> None:
        self._files = files
        self._stride = stride(line_count)
        self._traced = line_count > 0
        self._output_bytes = output_bytes
        self._pid = os.getpid()
        self._fn_name: str | None = None
        self._kept: list[ModuleType] = []
        """The module of the test that runs; `program_state.finish` releases it."""
        self.exit_code = 0

    def run(self) -> None:
        files = self._files
        files.block[PHASE] = Phase.COMPILING
        spec = json.loads(read_all(files.program))
        source, self._fn_name = spec["source"].removeprefix("\ufeff"), spec["fn_name"]
        warnings.simplefilter("ignore")
        try:
            code = compile(source, program_state.FILE_NAME, "exec", dont_inherit=True)
        except Exception as error:
            self._seal({"error": program_state.describe(error)})
            return
        try:
            setup = compile(spec["setup_code"], "<setup>", "exec", dont_inherit=True)
        except Exception as error:
            self._seal({"setup_error": program_state.describe(error)})
            return
        alone = not spec["share"]
        if spec["describe"]:
            files.block[PHASE] = Phase.DESCRIBING
            alone = self._describe(source, code, spec)
        else:
            self._seal({})  # shows the host that the program began, whatever it does to our memory
        pause_ns = spec["pause_s"] * 1e9
        del spec, source
        most = self._output_bytes + 1  # one byte more shows that the limit was passed
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        tracer = LineTracer(code, memoryview(files.lines), self._stride) if self._traced else None
        warnings.resetwarnings()
        gc.freeze()
        files.block[PHASE] = Phase.RUNNING
        for test in range(len(files.inputs)):
            self._test(test, setup, code, tracer)
            if alone or program_state.threads_left() or _cpu_ns() > pause_ns:
                break

    def _describe(self, source: str, code: CodeType, spec: dict[str, Any]) -> bool:
        """Seal the structure; return whether each test needs a process of its own."""
        code_lines = lines_with_code(code, len(physical_lines(source)))
        trusted, alone = False, True
        described, alike = None, {}
        if spec["describe"] != "simply":
            try:
                tree = ast.parse(source)
                described = structure.describe(source, tree, code_lines)
                trusted = not tracing_reach.touches_tracing(source, tree)
                # a source that reaches our frames reaches what the next test would find there
                alone = not trusted or source_traits.leaves_state(source, tree)
                if spec["reference"]:
                    alike = {"likeness": likeness.likeness(tree, spec["reference"])}
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                pass  # a tree needs more stack and memory than byte code
        described = described or structure.simple(source, code_lines)
        traits = {"code": sorted(code_lines), "trusted": trusted, "alone": alone}
        self._seal({**described, **traits, **alike})
        return alone

    def _test(self, test: int, setup: CodeType, code: CodeType, tracer: LineTracer | None) -> None:
        files = self._files
        begun, cpu_before = _monotonic_ns(), _cpu_ns()
        offset = record_offset(test)
        RECORD.pack_into(files.block, offset, begun, cpu_before, 0, 0, 0, 0, 0, b"")
        self._kept = [self._fresh_module(test)]
        if tracer is not None:
            tracer.begin(test)
        try:
            claim, detail = self._execute(setup, code, test)
        finally:
            if tracer is not None and not tracer.end():
                files.block[MEDDLED] = 1
        text = detail.encode("utf-8", "replace")[:DETAIL_BYTES]
        used = _cpu_ns() - cpu_before
        record = (begun, cpu_before, used, 1, claim, len(text), self.exit_code, text)
        RECORD.pack_into(files.block, offset, *record)

    def _fresh_module(self, test: int) -> ModuleType:
        files = self._files
        if self._fn_name is None:
            return program_state.fresh("__main__", files.inputs[test], files.answers[test])
        os.ftruncate(files.scratch, 0)
        os.lseek(files.scratch, 0, os.SEEK_SET)
        return program_state.fresh("solution", files.nothing, files.scratch)

    def _execute(self, setup: CodeType, code: CodeType, test: int) -> tuple[Claim, str]:
        """Run the program from its first line to the end of its last object."""
        claim, detail, value = self._run_program(setup, code, test)
        own = os.getpid() == self._pid
        called = self._fn_name is not None and self._files.calls is None
        if own and called and claim is Claim.FINE:
            claim, detail = self._answer(test, value)
        del value
        try:
            trouble = program_state.finish(self._kept)
        except BaseException as error:
            trouble = program_state.ended_by(error)
        if trouble is not None:
            self.exit_code = self.exit_code or _CANNOT_FLUSH
            if claim is Claim.FINE:
                claim, detail = trouble
        if not own:
            os._exit(self.exit_code)  # a forked child that came back out of the program
        if self._fn_name is not None and os.fstat(self._files.scratch).st_size > self._output_bytes:
            return Claim.TOO_LARGE, "it wrote more than the output limit"
        if claim is Claim.FINE and program_state.threads_left():
            return Claim.THREADS_LEFT, "a thread outlived the program"
        return claim, detail

    def _run_program(self, setup: CodeType, code: CodeType, test: int) -> tuple[Claim, str, object]:
        """Run the program to its last line; the third item is what the function returned."""
        self.exit_code = 0
        value: object = None
        try:
            try:
                exec(setup, vars(self._kept[0]))
                exec(code, vars(self._kept[0]))
                if self._files.calls is not None:
                    ScriptServer(self._files.calls, self._kept[0], self._output_bytes).serve()
                elif self._fn_name is not None:
                    value = self._called(test)
            finally:
                program_state.script_ended()
        except function_calls.NoAnswer as error:
            return error.claim, error.detail, None
        except SystemExit as left:
            self.exit_code = _exit_code(left.code)
            if self.exit_code:
                return Claim.FAILED, f"exit code {self.exit_code}", None
            if self._fn_name is not None:
                return Claim.FAILED, "it left before the function returned", None
        except BaseException as error:
            self.exit_code = 1
            claim, detail = program_state.ended_by(error)
            _call_own_hook(error)
            return claim, detail, None
        return Claim.FINE, "", value

    def _called(self, test: int) -> object:
        arguments = plain_data.decode(read_all(self._files.inputs[test]))
        return function_calls.find(self._kept[0], self._fn_name or "")(*arguments)

    def _answer(self, test: int, value: object) -> tuple[Claim, str]:
        try:
            encoded = function_calls.packed(value, self._output_bytes)
        except function_calls.NoAnswer as error:
            return error.claim, error.detail
        os.ftruncate(self._files.answers[test], 0)
        os.pwrite(self._files.answers[test], encoded, 0)
        return Claim.FINE, ""

    def _seal(self, described: dict[str, Any]) -> None:
        data = json.dumps(described, separators=(",", ":")).encode("ascii")
        view = memoryview(START.pack(_monotonic_ns(), _cpu_ns()) + data)
        while view:
            view = view[os.write(self._files.structure, view) :]
        fcntl.fcntl(self._files.structure, fcntl.F_ADD_SEALS, SEALS)


def _exit_code(code: object) -> int:
    """Return the exit code that a shell would see of `sys.exit(code)`."""
    if code is None:
        return 0
    if not isinstance(code, int):
        return 1
    # as the interpreter, which takes what is no C integer for −1
    return (code if -_C_LONG <= code < _C_LONG else -1) & _MAXIMUM_EXIT_CODE


def _call_own_hook(error: BaseException) -> None:
    """Call the `sys.excepthook` of a program that sets one, with its last exception."""
    if sys.excepthook is not sys.__excepthook__:
        try:
            sys.excepthook(type(error), error, error.__traceback__)
        except BaseException:  # as in the interpreter: reported on stderr, which nobody reads
            return
