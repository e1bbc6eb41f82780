"""pass@k of a checkpoint: measured, kept in a file, compared, shown as a table."""
