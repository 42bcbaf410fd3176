"""Iceberg: catalog, tables, commits and data files, and every private name of PyIceberg; not which batch goes where."""
