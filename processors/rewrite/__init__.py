"""Taking rows out of a table and putting others in, in one snapshot; not who asks for it."""
