"""What a file type is, as values that are parsed and checked; not the rows that hold it."""
