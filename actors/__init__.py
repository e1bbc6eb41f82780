"""The rollout side: Ray actors that sample completions with vLLM and take new weights in place.

One rollout actor is one process (one vLLM engine) and the pool is as many of them as the run
file says. Open, in this order:

    actor_pool.py       what the loops hold: routes shares to actors
    slot_keeper.py        starts, watches, replaces and ends their processes
    pool_resize.py        more or fewer of them, while a run lives
    pool_slot.py          the state of one of them
    rollout_actor.py    the Ray actor: a share in, completions out as they finish
    actor_metrics.py      what Ray's dashboard shows of it
    vllm_sampler.py     what a share and an update mean to one engine
    translation.py      our records to vLLM's and back: sampling parameters, when a sample ends
    engine_thread.py    the one thread that drives vLLM's engine, and its inbox
    engine.py           how vLLM is set up, on the CPU and on GPUs
    weight_receiver.py  a push: buckets into the live model, versions, what happens on failure
    weight_transfer.py    our backend for vLLM's weight-transfer API
    bucket_tensors.py     a bucket's bytes as tensors
    char_spans.py       token ids to text, with the place of every token in it
    checkpoint_folder.py  what a checkpoint says about itself, before anything loads it
    probes.py           what `stepcoder doctor` asks

Who may be in which state is in `weight_receiver.py`; who is routed to is in `actor_pool.py`.
Nothing here imports torch or vllm before an actor's own process runs.
"""
