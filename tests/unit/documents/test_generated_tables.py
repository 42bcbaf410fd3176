"""The tables of the documents that are made from the code are current."""

from __future__ import annotations

import pytest
from documents import part
from generated_tables import GENERATED


@pytest.mark.parametrize("name", GENERATED)
def test_generated_table_is_what_the_code_says(name: str) -> None:
    """Settings, verbs, exit codes, events, retries and states stand in the documents as the code has them."""
    assert part(name) == GENERATED[name](), "write the tables anew: make tables"
