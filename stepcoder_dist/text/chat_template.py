"""From a checkpoint's own chat template to the `Frame` around a task, without transformers.

The conversation is rendered once, with marks for the task and for the start of the answer. The text
between the marks is what the model saw between a question and its answer.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from stepcoder_dist.errors import ConfigError
from stepcoder_dist.host.files.json_file import read_object
from stepcoder_dist.text.prompt_templates import Frame

_TASK = "STEPCODER-TASK"
_ANSWER = "STEPCODER-ANSWER"
_GENERATION = re.compile(r"(\{%-?\s*)(end)?generation(\s*-?%\})")
"""A tag of transformers for masks of training data; it prints nothing."""
_FIX = 'give a checkpoint of a chat model, or set prompt.style to "plain" or "deepseek-instruct"'


def frame(folder: Path, system: str = "") -> Frame:
    """Render the template of the checkpoint in `folder`, with a system message where one is given.

    Raises `ConfigError` where there is no template, or it does not render.
    """
    source, names = _template(folder)
    messages = [{"role": "system", "content": system}] if system else []
    messages += [{"role": "user", "content": _TASK}, {"role": "assistant", "content": _ANSWER}]
    values = {"messages": messages, "tools": None, "documents": None, **names}
    text = _render(folder, source, values)
    if text.count(_TASK) != 1 or text.count(_ANSWER) != 1 or text.find(_ANSWER) < text.find(_TASK):
        raise ConfigError(
            f"{folder}: the chat template does not render a question and its answer; {_FIX}"
        )
    before, _, rest = text.partition(_TASK)
    after, _, end = rest.partition(_ANSWER)
    return Frame(before=before, after=after, begins=True, end=end.lstrip())


def end_of_answer(folder: Path) -> str:
    """Return what the checkpoint's template writes after an answer; empty without a template."""
    try:
        return frame(folder).end
    except ConfigError:
        return ""


def _template(folder: Path) -> tuple[str, dict[str, str]]:
    """Read the template's source, and the special tokens that it may name."""
    config = read_object(folder / "tokenizer_config.json")
    names = {
        key: text
        for key, value in config.items()
        if key.endswith("_token")
        and isinstance(text := value.get("content") if isinstance(value, dict) else value, str)
    }
    names = {"bos_token": "", "eos_token": "", **names}
    file = folder / "chat_template.jinja"
    found = config.get("chat_template")
    if file.is_file():
        found = file.read_text(encoding="utf-8")
    elif isinstance(found, list):  # several, by name
        found = {each.get("name"): each.get("template") for each in found}.get("default")
    if not isinstance(found, str) or not found.strip():
        raise ConfigError(f"{folder}: holds no chat template; {_FIX}")
    return found, names


def _render(folder: Path, source: str, values: Mapping[str, Any]) -> str:
    """Render with the names that transformers gives a template, in Jinja's sandbox."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)

    def refuse(message: str) -> NoReturn:
        raise TemplateError(message)

    environment.globals["raise_exception"] = refuse
    # a fixed day: a prompt must not change from one day to the next
    environment.globals["strftime_now"] = dt.date(2024, 1, 1).strftime
    source = _GENERATION.sub(
        lambda tag: tag[1] + ("endif" if tag[2] else "if true") + tag[3], source
    )
    try:
        return environment.from_string(source).render(values, add_generation_prompt=False)
    except (TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{folder}: the chat template fails: {reason}; {_FIX}") from None
