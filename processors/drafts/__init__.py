"""A sample of files to a proposed schema, pure; not when one is drafted, nor where it is kept."""
