"""What is made of rows that are loaded: SQL, summary, quality, lineage, audit; nothing here changes a raw table."""
