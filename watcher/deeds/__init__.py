"""What a verb does, by whoever holds the lock, and how a command has it done; not how the answer is shown."""
