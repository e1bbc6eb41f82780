"""A tokenizer's files, copied from one model folder to another and compared after it.

Loading and saving would not do: transformers rebuilds some tokenizers by its own rules for the
model type. Under way DeepSeek-Coder's loses its beginning-of-sequence token, and others with the
same files lose every blank and line end, without a word.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from stepcoder_dist.errors import ConfigError
from stepcoder_dist.host import model_source
from stepcoder_dist.text.tokenization import load_tokenizer

FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
)
_OF_THE_MODEL = ("config.json",)
"""What else names tokens that end an answer; the model's own saving writes it."""
_TEXT = "def f(x):\n    if x > 10:\n\t\treturn [x, 'ä']  # twice\n\n    return f(x + 10)\n"


def copy(source: str, folder: Path) -> None:
    """Copy the tokenizer of `source` (a folder or a hub name) into a folder that holds a model.

    Raises `ConfigError` where the copy does not read a text as the source does.
    """
    _copy(source, folder, FILES)
    _compare(source, folder)


def check(source: str) -> None:
    """Raise `ConfigError` where a copy would not do: before hours of training, not after them."""
    with tempfile.TemporaryDirectory(prefix="stepcoder-tokenizer-") as folder:
        _copy(source, Path(folder), (*FILES, *_OF_THE_MODEL))
        _compare(source, Path(folder))


def _copy(source: str, folder: Path, names: tuple[str, ...]) -> None:
    there = model_source.find(source).files((*FILES, *_OF_THE_MODEL))
    for name in names:
        if (file := there / name).is_file():
            shutil.copyfile(file, folder / name)


def _compare(source: str, folder: Path) -> None:
    original, copied = load_tokenizer(source), load_tokenizer(folder)
    expected, ids = original.encode(_TEXT)[0], copied.encode(_TEXT)[0]
    differs = {
        "token ids of a program": expected.tolist() != ids.tolist(),
        "decoded text": original.decode(expected) != copied.decode(ids),
        "beginning-of-sequence ids": original.bos_ids != copied.bos_ids,
        "end-of-sequence ids": original.eos_ids != copied.eos_ids,
    }
    if any(differs.values()):
        names = ", ".join(name for name, wrong in differs.items() if wrong)
        raise ConfigError(
            f"the tokenizer of {source} cannot be copied as it is: {names} differ in {folder}; "
            "save the model with its fast tokenizer in a folder, and name that"
        )
