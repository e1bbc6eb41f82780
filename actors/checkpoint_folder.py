"""What a Hugging Face checkpoint folder says about itself, read without loading it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stepcoder_dist.config import splits_over
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.host.files.json_file import read_object
from stepcoder_dist.host.model_source import ModelSource


class CheckpointFolder:
    """The files of one checkpoint. Raises `ConfigError` where they are missing."""

    def __init__(self, source: ModelSource) -> None:
        """Find the files; those of a hub name are downloaded to this machine's cache."""
        self.path = source.checked().files(("*.json", "*.safetensors"))
        self._config = read_object(self.path / "config.json")

    def check_context(self, max_tokens: int) -> None:
        """Raise `ConfigError` when the model was not made for `max_tokens` positions."""
        positions = self._config.get("max_position_embeddings")
        if positions is not None and max_tokens > positions:
            raise ConfigError(
                f"model.max_tokens = {max_tokens} is above max_position_embeddings = {positions} "
                f"of {self.path}; lower it"
            )

    def check_tensor_parallel(self, parallel: int) -> None:
        """Raise `ConfigError` when attention heads cannot be split over so many GPUs."""
        heads = int(self._config.get("num_attention_heads") or 0)
        kv_heads = int(self._config.get("num_key_value_heads") or heads)
        if heads and not splits_over(heads, kv_heads, parallel):
            raise ConfigError(
                f"actors.tensor_parallel = {parallel} does not split the {heads} heads and "
                f"{kv_heads} key-value heads of {self.path} evenly; choose a divisor of both"
            )

    def parameter_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of every parameter, from the headers of the safetensors files.

        Rotary tables that old checkpoints store are no parameters and are left out.
        """
        from safetensors import SafetensorError, safe_open  # the driver, which asks less, has none

        shapes: dict[str, tuple[int, ...]] = {}
        for file in self._weight_files():
            try:
                with safe_open(file, framework="np") as tensors:
                    for name in tensors.keys():  # noqa: SIM118 (it is no dict)
                        if "rotary_emb." not in name:
                            shapes[name] = tuple(tensors.get_slice(name).get_shape())
            except (SafetensorError, OSError) as error:
                raise ConfigError(f"{file}: not complete ({error}); restore the file") from None
        return shapes

    @property
    def ties_embeddings(self) -> bool:
        """Whether the output layer is the embedding, so that `lm_head.weight` need not be sent."""
        return bool(self._config.get("tie_word_embeddings", False))

    def _weight_files(self) -> list[Path]:
        index = read_object(self.path / "model.safetensors.index.json")
        if index:
            return [self.path / name for name in sorted(set(index["weight_map"].values()))]
        single = self.path / "model.safetensors"
        if not single.is_file():
            raise ConfigError(
                f"{self.path}: no model.safetensors; save the model with save_pretrained"
            )
        return [single]
