"""The work itself, one thread at a time: repair, gather, flush, summarise; not who asked for it."""
