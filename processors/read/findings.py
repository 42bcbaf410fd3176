"""What an audit found and saw: its findings, each with a code and a cure, and the numbers of what it compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from metadata.ledger.books import FileRow


class Code(StrEnum):
    """What does not balance."""

    FILE_MOVED = "file_moved"  #: a source file is not where the ledger has it, but in another of our folders
    FILE_MISSING_ON_DISK = "file_missing_on_disk"  #: a source file is not where the ledger has it, nor elsewhere
    FILE_MISPLACED = "file_misplaced"  #: the ledger has a file where its state does not belong
    FILE_CHANGED = "file_changed"  #: a loaded file has another size than the one that was loaded
    FILE_FORGOTTEN = "file_forgotten"  #: a file is in a micro-batch that is over
    UNKNOWN_FILE = "unknown_file"  #: a file lies in one of our folders that the ledger does not know
    COUNTS_DISAGREE = "counts_disagree"  #: two numbers of the ledger that must be equal are not
    ROWS_MISSING = "rows_missing"  #: a table has fewer rows of a file or batch than the ledger
    ROWS_EXTRA = "rows_extra"  #: a table has more rows of a file than the ledger
    ROWS_UNKNOWN = "rows_unknown"  #: a table has rows of no file or batch of the ledger
    DATA_FILE_MISSING = "data_file_missing"  #: a data file of a table is gone
    DATA_FILE_CHANGED = "data_file_changed"  #: a data file has another length than the one that was committed
    DATA_FILE_UNREADABLE = "data_file_unreadable"  #: a data file cannot be read
    SNAPSHOT_GONE = "snapshot_gone"  #: a batch's or operation's snapshot was rolled back
    TABLE_MISSING = "table_missing"  #: the catalog has no such table, but batches were loaded into it
    TABLE_BROKEN = "table_broken"  #: the table's own metadata or manifests are gone


CURES = {
    Code.FILE_MOVED: "move it back",
    Code.FILE_MISSING_ON_DISK: "bring it back from a backup; rows that were loaded from it are not touched by this",
    Code.FILE_MISPLACED: "somebody edited the ledger, or moved the folders: set its path right",
    Code.FILE_CHANGED: "somebody wrote to it after it was loaded; bring the loaded bytes back, or drop it again",
    Code.FILE_FORGOTTEN: "report this as a bug; its batch is on record",
    Code.UNKNOWN_FILE: "if it is a delivery, move it into incoming/; else take it away",
    Code.COUNTS_DISAGREE: "somebody edited the ledger: compare with `lemonade batches` and a backup, set it right",
    Code.ROWS_MISSING: "somebody deleted rows: bring the table's earlier snapshot back, or undo the file and retry it",
    Code.ROWS_EXTRA: "somebody else wrote to the table, or edited the ledger: see the table's history",
    Code.ROWS_UNKNOWN: "somebody else wrote to the table, or the ledger was restored: lemonade recover",
    Code.DATA_FILE_MISSING: "bring it back from a backup; else undo its batch and retry the files",
    Code.DATA_FILE_CHANGED: "bring it back from a backup; else undo its batch and retry the files",
    Code.DATA_FILE_UNREADABLE: "see its rights and the disk; else undo its batch and retry the files",
    Code.SNAPSHOT_GONE: "somebody rolled the table back: set its main branch forward again",
    Code.TABLE_MISSING: "bring it back in the catalog, from its last metadata file",
    Code.TABLE_BROKEN: "bring the file back from a backup",
}


@dataclass(frozen=True)
class Finding:
    """One difference; `thing` is what a person would look for."""

    code: Code
    thing: str
    expected: str
    found: str

    @property
    def cure(self) -> str:
        """What to do about it."""
        return CURES[self.code]

    def line(self) -> str:
        """On one line, for people."""
        return f"{self.code}: {self.thing}: expected {self.expected}, found {self.found}; {self.cure}"


@dataclass
class InWork:
    """What is on its way: no fault, and left out of what is compared."""

    files: int = 0
    batches: int = 0
    operations: int = 0


@dataclass
class Audit:
    """What an audit saw; numbers are of what it compared, without what is in work."""

    files: int = 0
    batches: int = 0
    tables: int = 0
    data_files: int = 0
    rows: int = 0
    rejected: int = 0  #: rows of the quarantine
    in_work: InWork = field(default_factory=InWork)
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def balanced(self) -> bool:
        """Whether there is nothing to find."""
        return not self.findings

    def find(self, code: Code, thing: str, expected: object, found: object) -> None:
        """Note one difference."""
        self.findings.append(Finding(code, thing, str(expected), str(found)))


def named(file: FileRow) -> str:
    """A source file as findings call it: by its name, and by its id, for a name may come again."""
    return f"file {file.name} ({file.id})"
