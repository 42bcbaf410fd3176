"""What a source file is called, where it lies and how it moves; not what its bytes mean."""
