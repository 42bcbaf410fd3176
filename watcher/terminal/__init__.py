"""What commands share at the terminal: how rows are shown, questions asked, choices read; not what one verb says."""
