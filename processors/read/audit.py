"""The audit: do the books balance? Ledger, folders and tables are compared, and each difference is a finding.

It only reads, and may run beside a daemon at work. What is in flight is no fault: files and rows of micro-batches and
operations that are not settled are left out and counted as in work. The three are looked at one after another (the
folders first, then the ledger in one transaction, then the tables), so a first look may see halves of what happened in
between; a finding counts only when a second look sees it too.
"""

from __future__ import annotations

from collections.abc import Callable

from metadata.clock import Clock
from metadata.ledger.books import Scope, read_books
from metadata.ledger.ledger import Ledger
from metadata.registry.registry import Registry
from metadata.settings import Settings
from processors.lake.lake import Lake
from processors.read.audit_counts import check_counts
from processors.read.audit_files import SourceFilesAudit, files_on_disk
from processors.read.audit_tables import TablesAudit
from processors.read.findings import Audit
from processors.read.lineage import LineageReader


def audit(
    settings: Settings,
    ledger: Ledger,
    registry: Registry,
    lake: Lake,
    clock: Clock,
    scope: Scope | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Audit:
    """Compare ledger, folders and tables; changes nothing. `stop()` is asked between data files.

    Raises WorldFault when one of the three is away, Busy when it was told to stop.
    """
    began = clock.monotonic()
    scope = scope or Scope()
    reader = LineageReader(lake, scope, stop)

    def look() -> Audit:
        seen = Audit()
        on_disk = files_on_disk(settings.folders)
        books = read_books(ledger.database, scope)
        SourceFilesAudit(seen, books, settings.folders, ledger, clock, scope).compare(on_disk)
        check_counts(seen, books)
        kinds = [kind for kind in registry.read().types if scope.file_type in (None, kind.name)]
        TablesAudit(seen, books, ledger.database, reader).compare(kinds)
        seen.in_work.operations = sum(operation.in_work for operation in books.operations)
        return seen

    result = look()
    if result.findings:
        told = {(finding.code, finding.thing) for finding in result.findings}
        result = look()
        result.findings = [finding for finding in result.findings if (finding.code, finding.thing) in told]
    result.seconds = clock.monotonic() - began
    return result
