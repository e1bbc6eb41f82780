"""The usual prompts: the words of a problem, and the frame that a kind of model expects.

    style  │ before │ task: statement, starter code │ after │ ```python │ opening ┃ completion …

A *task* has the words of a problem, a *style* the frame. Any task can be used with any style.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_SLOT = re.compile(r"\{statement\}|\{starter_code\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The words of a problem. `{statement}` and `{starter_code}` are filled in."""

    text: str
    """Text before the opening fence."""
    without_starter: str = ""
    """The same for a problem without starter code; empty: `text`."""
    answer: str = ""
    """The beginning of the answer, before the opening fence."""
    opening: str = ""
    """Code after the fence: given to the policy, and the start of the program."""
    stop: tuple[str, ...] = ()
    """An evaluated program also ends before the first of these, since a base model does not stop
    after a function."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The text around the task."""

    before: str = ""
    after: str = "\n"
    begins: bool = False
    """Whether `before` holds the token that begins a text, where the model has one."""
    end: str = ""
    """What follows an answer and begins with the token that ends it; empty: the tokenizer's end."""


TASKS: Mapping[str, Task] = {
    "statement": Task(text="{statement}\n{starter_code}"),
    # EvalPlus's wording, for models that follow instructions
    "humaneval": Task(
        text="Please provide a self-contained Python script that solves the following problem in "
        "a markdown code block:\n```\n{statement}\n```"
    ),
    # Chen et al. 2021, arXiv 2107.03374: the prompt is code to continue, and has stop strings
    "humaneval-completion": Task(
        text="",
        opening="{statement}\n",
        stop=("\nclass", "\ndef", "\n#", "\nif", "\nprint"),
    ),
    # EvalPlus's with the beginning of its answers, for HumanEval+ and MBPP+
    "evalplus": Task(
        text="Please provide a self-contained Python script that solves the following problem in "
        "a markdown code block:\n```\n{statement}\n```",
        answer="Below is a Python script with a self-contained function that solves the problem "
        "and passes corresponding tests:\n",
    ),
    # Jain et al. 2024, arXiv 2403.07974: the prompt for models that follow instructions
    "livecodebench": Task(
        text="### Question:\n{statement}\n\n### Format: You will use the following starter code to "
        "write the solution to the problem and enclose your code within delimiters.\n"
        "```python\n{starter_code}\n```\n\n"
        "### Answer: (use the provided format with backticks)",
        without_starter="### Question:\n{statement}\n\n### Format: Read the inputs from stdin "
        "solve the problem and write the answer to stdout (do not directly test on the sample "
        "inputs). Enclose your code within delimiters as follows. Ensure that when the python "
        "program runs, it reads the inputs, runs the algorithm and writes output to STDOUT.\n"
        "```python\n# YOUR CODE HERE\n```\n\n"
        "### Answer: (use the provided format with backticks)",
    ),
    # Austin et al. 2021, arXiv 2108.07732, without shots; the statement ends in the three asserts
    "mbpp": Task(text="You are an expert Python programmer, and here is your task: {statement}"),
}

STYLES: Mapping[str, Frame] = {
    "plain": Frame(),
    # the system message of DeepSeek-Coder's instruction data, which StepCoder's policies saw
    "deepseek-instruct": Frame(
        before="You are an AI programming assistant, utilizing the Deepseek Coder model, developed "
        "by Deepseek Company, and you only answer questions related to computer science. For "
        "politically sensitive questions, security and privacy issues, and other non-computer "
        "science questions, you will refuse to answer.\n### Instruction:\n",
        after="\n### Response:\n",
    ),
}
"""`chat` is the third: `chat_template.frame` makes it from a checkpoint."""


def filled(template: str, values: Mapping[str, str]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Put the values into the slots; return the text and the half-open ranges of the values.

    This is one pass: a statement that contains `{starter_code}` is not a template.
    """
    parts: list[str] = []
    ranges = []
    length = at = 0
    for slot in _SLOT.finditer(template):
        value = values[slot[0]]
        parts += [template[at : slot.start()], value]
        length += slot.start() - at
        ranges.append((length, length + len(value)))
        length += len(value)
        at = slot.end()
    return "".join([*parts, template[at:]]), tuple(ranges)
