"""The run file on disk: TOML in, `RunConfig` out, and the documentation of its keys.

Every error is one line: `deploy/runs/demo.toml: learner.minibatch_samples = 6 does not divide
learner.samples_per_step = 64; use 4 or 8`.
"""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import tomli_w
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from stepcoder_dist import methods
from stepcoder_dist.config import RunConfig, keys
from stepcoder_dist.config.counts import fixed_for_train
from stepcoder_dist.config.keys import Key
from stepcoder_dist.errors import ConfigError


def load(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run file and apply `a.b=value` overrides, in order.

    Keys that neither sets come from the method's preset; `method=X` as an override sets those keys
    itself, over the file's.

    Raises `ConfigError` for a missing file, broken TOML, unknown or mistyped keys and parts that
    do not fit together: one line for each.
    """
    path = Path(path)
    tree = read_toml(path, "no such run file; `ls deploy/runs` shows the shipped ones")
    for override in overrides:
        _override(tree, override)
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(error_line(path, e) for e in error.errors())) from None


def read_toml(path: Path, absent: str) -> dict[str, Any]:
    """Read a TOML file. Raises `ConfigError` of one line, with `absent` where there is no file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows write a BOM
    except FileNotFoundError:
        raise ConfigError(f"{path}: {absent}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); give a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: {_beyond(error)}") from None


def _beyond(error: ValueError | RecursionError) -> str:
    """Say what the reader of TOML gives up on, without a place in the file."""
    if isinstance(error, RecursionError):
        return "an array or a table in it is nested too deeply; a run file needs no such thing"
    return "a number in it has too many digits; correct it"


def _override(tree: dict[str, Any], override: str) -> None:
    """Set one `a.b=value`; the value is read as TOML, and as plain text if it is none."""
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(f"--set {override}: not of the form a.b=value")
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        table = {}
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--set {key}: {_beyond(error)}") from None
    value = table["value"] if table.keys() == {"value"} else text
    *sections, last = parts
    node = tree
    for section in sections:
        child = node.setdefault(section, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {override}: {section} is a value, not a section")
        node = child
    node[last] = value
    if parts == ["method"]:
        methods.applied_over(tree)


_SEEN_CHARS = 80
_KEY_FIRST = re.compile(r"[\w.]+ = ")
_TOML_WORDS = {
    "tuple_type": "should be an array, such as [1, 2]",
    "model_type": "should be a section of keys",
    "dict_type": "should be a table, such as { a = 1 }",
}


def error_line(path: Path, error: Any, documented: str = "docs/config.md") -> str:
    """Write one of pydantic's errors in one line: file, key, what was seen, what to do."""
    where = ".".join(str(part) for part in error["loc"])
    kind = error["type"]
    if kind == "extra_forbidden":
        return f"{path}: unknown key {where}; remove it or check its spelling ({documented})"
    if kind == "missing":
        return f"{path}: {where} is missing; add it"
    message = error["msg"].removeprefix("Value error, ")
    if kind == "value_error":  # a section's own check: its keys are relative to the section
        between = "." if _KEY_FIRST.match(message) else ": "
        return f"{path}: {where}{between if where else ''}{message}"
    seen = repr(error["input"])
    if len(seen) > _SEEN_CHARS:
        seen = seen[:_SEEN_CHARS] + "…"
    message = _TOML_WORDS.get(kind) or message[0].lower() + message[1:]
    return f"{path}: {where} = {seen}: {message}"


def describe(config: RunConfig) -> str:
    """Return the resolved tree as TOML, with the derived sizes as comments."""
    tree = config.model_dump(mode="json", exclude_none=True)
    derived = "".join(f"# {name} = {value}\n" for name, value in config.derived().items())
    return f"{tomli_w.dumps(tree)}\n# derived\n{derived}".rstrip()


_MAY_CHANGE = "↻"


def document() -> str:
    """Return docs/config.md: every key with its default and meaning."""
    lines = [
        "# Run files",
        "",
        "One TOML tree. Unknown keys are refused; `stepcoder train RUN.toml --dry-run` prints the",
        "resolved tree with the sizes that follow from it. `--set section.key=value` overrides one",
        "key. Relative paths start at the working folder, `~` is the home folder.",
        f"{_MAY_CHANGE}: `train --resume` takes another value too. Made from",
        "`stepcoder_dist/config/` by `make docs`.",
    ]
    for table in keys.tables():
        title = (f"[[{table.path}]]" if table.repeated else f"[{table.path}]") if table.path else ""
        lines += ["", f"## {title or 'top level'}", ""]
        if title and table.section.__doc__:
            lines += [inspect.cleandoc(table.section.__doc__), ""]
        lines += ["| key | default | meaning |", "|---|---|---|", *map(_row, table.keys)]
    return "\n".join(lines) + "\n"


def _row(key: Key) -> str:
    field = key.field
    value = field.get_default(call_default_factory=True)
    default = "not set" if value is None else f"`{_shown(value)}`"
    default = "required" if field.is_required() else default
    meaning = " ".join((field.description or "").split()).replace("|", "\\|")
    mark = f" {_MAY_CHANGE}" if not fixed_for_train(key.counts) else ""
    name = key.path.rpartition(".")[2]
    cells = [f"`{name}`{mark}", default, " ".join(filter(None, [meaning, _choices(field)]))]
    return f"| {' | '.join(cells)} |"


def _choices(field: FieldInfo) -> str:
    """Name the values that a key with a fixed set of values takes."""
    if get_origin(field.annotation) is not Literal:
        return ""
    return f"One of {', '.join(f'`{_shown(choice)}`' for choice in get_args(field.annotation))}."


def _shown(default: Any) -> str:
    """Return a default as TOML would write it."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, str):
        return '"' + default.replace("\n", "\\n") + '"'
    return str(list(default)) if isinstance(default, tuple) else str(default)
