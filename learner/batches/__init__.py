"""Which samples are computed together: micro-batches, packed rows, and attention over them."""
