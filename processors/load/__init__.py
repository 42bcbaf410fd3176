"""How claimed files become one snapshot in each of two tables, step by step; not when, nor what is changed later."""
