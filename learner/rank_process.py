"""What every learner rank's process does first, whatever it trains."""

from __future__ import annotations

import random
import warnings

import numpy as np
import ray
import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from transformers.utils import logging as transformers_logging

from learner.zero import zero_engine
from stepcoder_dist.config import RunConfig
from stepcoder_dist.host import visible_gpus


class Rank:
    """Base of the Ray actors: finds the other ranks, owns the device and the random state."""

    def __init__(self, config: RunConfig, checkpoint: str, rank: int, ranks: int) -> None:
        # before CUDA is asked for anything
        visible_gpus.show_only(ray.get_gpu_ids())
        self.config = config
        self.checkpoint = checkpoint
        """Hugging Face folder or hub name that the networks start from."""
        self.rank = rank
        self.ranks = ranks
        self.device = torch.device("cpu")
        self._store: TCPStore | None = None

    def rendezvous(self) -> tuple[str, int]:
        """Open the ranks' meeting point in this process (rank 0); return its host and port."""
        self.prepare()
        host = ray.util.get_node_ip_address()
        self._store, port = zero_engine.open_store(host, self.ranks)
        return host, port

    def start(self, host: str, port: int) -> None:
        """Join the other ranks, seed, and build the networks."""
        transformers_logging.disable_progress_bar()
        # DeepSpeed's ZeRO-3 calls torch functions by their old names, once for every bucket
        warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
        store = self._store or TCPStore(
            host, port, self.ranks, timeout=zero_engine.COLLECTIVE_TIMEOUT
        )
        learner = self.config.learner
        threads = learner.threads or max(1, int(learner.resources.num_cpus))
        self.device = zero_engine.join(store, self.rank, self.ranks, threads=threads)
        random.seed(self.config.seed)
        np.random.seed(self.config.seed)  # noqa: NPY002 - libraries that use the global state
        torch.manual_seed(self.config.seed)
        self.build()

    def prepare(self) -> None:
        """Make what the ranks start from, on rank 0 alone and before the others join it."""

    def build(self) -> None:
        """Make the networks, after the ranks have joined."""
        raise NotImplementedError
