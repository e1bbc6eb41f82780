"""The account of every sample of a run: `ledger.jsonl`, and the proof that it balances."""
