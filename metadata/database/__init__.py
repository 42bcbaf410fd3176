"""The engine, the tables and the migrations of the metadata database, and the small tables that the daemon keeps for
itself; not the ledger's or the registry's rules.
"""
