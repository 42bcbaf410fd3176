"""What we know: settings, file types, the ledger of every file and batch, errors and logs."""
