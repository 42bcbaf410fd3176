"""`lemonade quarantine`: see rejected records, replay them, throw them away; a file a sub-verb, and nothing else."""
