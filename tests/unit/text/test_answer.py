"""Which part of another trainer's completion is the program."""

from __future__ import annotations

import pytest

from stepcoder_dist.text.answer import ends_in_open_fence, program_of


@pytest.mark.parametrize(
    ("answer", "program"),
    [
        ("print(1)\n", "print(1)\n"),
        ("Sure.\n```python\nprint(1)\n```\nDone.", "print(1)\n"),
        ("```py\nprint(1)\n", "print(1)\n"),  # cut off at the length limit
        ("```python\nold()\n```\nBetter:\n```python\nnew()\n```", "new()\n"),
        ("```python\nanswer()\n```\nIt prints\n```\n1\n```", "answer()\n"),
        ("```\nfirst()\n```\nthen\n```\nlast()\n```", "last()\n"),
        ("```bash\nls\n```\n```Python\nx = 1\n```", "x = 1\n"),
        ('```python\nt = """\n```\n"""\nprint(t)\n```\n', 't = """\n```\n"""\nprint(t)\n'),
        ("Use `print` and ```ls``` there", "Use `print` and ```ls``` there"),
        ("", ""),
    ],
)
def test_the_program_is_the_last_python_block(answer, program):
    assert program_of(answer) == program


def test_where_the_prompt_opened_the_block_the_first_closing_fence_ends_it():
    answer = "print(1)\n```\nand so on\n```python\nprint(2)\n```"
    assert program_of(answer, fence_open=True) == "print(1)\n"


@pytest.mark.parametrize(
    ("prompt", "is_open"),
    [
        ("Add.\n```python\n", True),
        ("Add.\n\n```py", True),
        ("```python\nx\n```\n", False),
        ("Answer in ```python", False),
        ("", False),
    ],
)
def test_a_prompt_that_ends_in_an_opening_fence_has_opened_the_block(prompt, is_open):
    assert ends_in_open_fence(prompt) is is_open
