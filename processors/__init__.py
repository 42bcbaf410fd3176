"""How bytes become a snapshot: decoding, Spark, Iceberg, the commit protocol, summary and query."""
