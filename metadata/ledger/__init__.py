"""The fate of every source file and micro-batch, and who asks it what; not operations that change what was loaded."""
