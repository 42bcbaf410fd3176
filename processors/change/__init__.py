"""What changes loaded rows afterwards: undo, replay, discard, backfill; not who asks for it."""
