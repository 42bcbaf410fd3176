"""Bytes of source files to columns and rejected records, pure; not Spark, nor what a table holds already."""
