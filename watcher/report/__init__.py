"""The report as values, as text and as a page; not what the ledger and the tables count."""
