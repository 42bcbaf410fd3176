"""The ledgers of what changes loaded rows afterwards: undo, replay, discard, backfill; not how the rows are changed."""
