"""Which file types exist, as rows that people may also write with SQL; not what a type may say, nor files' fates."""

from metadata.registry.get_or_create import get_or_create_table_metadata

__all__ = ["get_or_create_table_metadata"]  # for programs of other people: the name that is promised to them
