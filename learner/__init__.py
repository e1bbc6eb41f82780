"""The learner: the processes that update the policy. One Ray actor per rank, joined by DeepSpeed.

What a step does, in the order of the files:

    learner_group.py     the driver's handle: implements `ports.Learner`, speaks to every rank
      rank_group.py      starts, calls and ends the Ray actors; a dead rank becomes a `LearnerError`
        rank_process.py  what every rank's process does first: meet the others, seed
        worker.py        one rank `learner-rank-<r>`: composes what follows, holds no arithmetic
          policy_critic.py     policy, critic and frozen reference from a Hugging Face folder
            logits_check.py      refuses a model whose logits are not what its head makes
            positions_check.py   refuses one whose angles depend on a row's longest sample
            lora/                adapters that are trained instead of the weights
          kernels/
            products.py          float32 products on a CPU
            token_logprobs.py    log π(token) from hidden states without all logits
          zero_engine.py       DeepSpeed: process group, ZeRO engines, one optimiser update
            deepspeed_config.py  DeepSpeed's configuration
          batching.py          samples -> minibatches; padded micro-batches
          balance.py           which samples share a packed row, and which rank has it
          packing.py           a packed row: each prompt once, every completion of it
            packed_attention.py  a completion sees its prompt and itself
          ppo_step.py          one PPO step: recompute, advantages, epochs of minibatches
            step_tensors.py      what the step knows about every token
            advantage/           `learner.advantage`: from those to what the losses aim at
            loss/                the losses of the policy and the critic: pure functions
            step_figures.py      the step's metrics
            nonfinite.py         when an update is skipped; zero/gradients.py: how
          saving/              what it writes
            checkpoint.py        save and load so that a run resumes bitwise
            host_copy.py         what is written while the next steps run
            summed_file.py       sums what is written
            saving_rank.py       the calls of a rank; saving_round.py: the driver's
            manifest.py          what a checkpoint says about itself; refuses what is foreign
            hf_folder.py         the policy as an ordinary Hugging Face folder
            offline_export.py    the same from a checkpoint, by one process
          push/                the learner's side of a weight push
            snapshot.py          the weights into Ray's object store, by all ranks
            delivery.py          from there to every actor, by the driver
            arrival.py           whether an actor then computes what the learner does
            nccl_publisher.py    instead: over NCCL, by vLLM's transfer
            ipc_publisher.py     instead: from the memory of a GPU that actor and rank share
            weight_buckets.py    a module's parameters in pieces, gathered from all ranks
            push_round.py        who still takes part in a push by the ranks, and who failed
    warm_start/          SFT, on the same engines
      sft.py               the driver's handle
      sft_plan.py          its phases as updates; what driver and ranks exchange
      sft_worker.py        one rank of it
    tiny_model.py        the randomly initialised model of the demo and the tests
    probes.py            what `stepcoder doctor` asks

Semantics (what is masked, which count divides which loss) are in docs/decisions/0020 to 0025.
The package needs torch, deepspeed and transformers. The driver's half needs ray only:
`learner_group.py`, `rank_group.py`, `push/delivery.py`, `push/arrival.py`, `warm_start/sft.py`.
Importing `learner` alone needs nothing.
"""
