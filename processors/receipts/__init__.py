"""The files beside the tables from which a lost ledger is written again; not the ledger."""
