"""What happened when in a run: `trace.jsonl`, and its picture for Perfetto."""
