"""The ledger: the fate of every source file and every micro-batch, and the only writer of their states.

Each method is one transaction. The legal moves between states stand in `metadata.database.states`; any other raises
Fatal, for it means that the books and the program disagree.
"""

from __future__ import annotations

from metadata.ledger.arrivals import Arrivals
from metadata.ledger.batches import Batches
from metadata.ledger.lookups import Lookups
from metadata.ledger.summary_days import SummaryDays


class Ledger(Arrivals, Batches, Lookups, SummaryDays):
    """The books, on the metadata database: each part in its own module, one name for those who call them."""
