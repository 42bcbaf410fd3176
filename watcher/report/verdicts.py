"""Is an error systemic, or one-off? Said in a sentence. Pure functions of how far the error spread.

- **systemic**: it is in at least `SYSTEMIC_FILES` files, and these are at least `SYSTEMIC_SHARE` of the files of its
  type that came from the hour in which it was first seen to the hour in which it was last seen; or it is in as many
  files of one prefix, and these are that share of the prefix's. Mend the producer, or the schema.
- **one-off**: it is in a single file; or in `ONE_OFF_FILES` within one hour, and they are less than that share.
- **recurring**: everything else. It comes back, and most files do not have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

SYSTEMIC_FILES = 3
SYSTEMIC_SHARE = 0.5
ONE_OFF_FILES = 2
PREFIX_SHARE = 0.9
"""A prefix with so much of an error's files is named as the one that they come from."""


class Extent(StrEnum):
    """How far an error spread."""

    SYSTEMIC = "systemic"  #: most files of its hours have it
    RECURRING = "recurring"  #: it comes back, in fewer
    ONE_OFF = "one-off"  #: one file, or two within an hour


ORDER = (Extent.SYSTEMIC, Extent.RECURRING, Extent.ONE_OFF)
"""What is said first."""


@dataclass(frozen=True)
class Spread:
    """Where an error was seen, and where it could have been seen."""

    file_type: str | None  #: None: of files without a type, which are compared with all files
    records: int  #: 0 when files as a whole failed
    prefixes: Mapping[str | None, int]  #: files with it
    of_prefixes: Mapping[str | None, int]  #: files of the type in its hours, by prefix
    first_hour: datetime
    last_hour: datetime
    files_after: int  #: of the type, after its last hour

    @property
    def files(self) -> int:
        """Files with it."""
        return sum(self.prefixes.values())

    @property
    def of_files(self) -> int:
        """Files of the type in its hours; never fewer than those with it."""
        return max(sum(self.of_prefixes.values()), self.files)

    @property
    def share(self) -> float:
        """Of the files of its hours, how many have it."""
        return self.files / self.of_files if self.files else 0.0

    @property
    def main_prefix(self) -> str | None:
        """The prefix with the most files that have it."""
        return max(self.prefixes.items(), key=lambda entry: entry[1], default=(None, 0))[0]

    @property
    def prefix_files(self) -> int:
        """The main prefix's files in its hours; never fewer than those with it."""
        prefix = self.main_prefix
        return max(self.of_prefixes.get(prefix, 0), self.prefixes.get(prefix, 0))

    @property
    def is_of_prefix(self) -> bool:
        """Whether most files of its main prefix have it."""
        having = self.prefixes.get(self.main_prefix, 0)
        return (
            self.main_prefix is not None and having >= SYSTEMIC_FILES and having >= SYSTEMIC_SHARE * self.prefix_files
        )


def extent_of(spread: Spread) -> Extent:
    """Systemic, recurring or one-off, by the thresholds of this module."""
    if (spread.files >= SYSTEMIC_FILES and spread.share >= SYSTEMIC_SHARE) or spread.is_of_prefix:
        return Extent.SYSTEMIC
    if spread.files <= 1:
        return Extent.ONE_OFF
    brief = spread.last_hour - spread.first_hour < timedelta(hours=1)
    if spread.files <= ONE_OFF_FILES and brief and spread.share < SYSTEMIC_SHARE:
        return Extent.ONE_OFF
    return Extent.RECURRING


def sentence(spread: Spread) -> str:
    """`systemic: in 38 of 40 files of vehicle_events since 2026-01-15 09:00, all from prefix eu_trucks`."""
    kind = extent_of(spread)
    of_type = f" of {spread.file_type}" if spread.file_type else ""
    if kind is Extent.ONE_OFF:
        many = "one file" if spread.files == 1 else f"{spread.files} files"
        what = f"{_count(spread.records, 'record')} of {many}" if spread.records else many
        return f"{kind}: {what}{of_type}, {_hour(spread.first_hour)}"
    if kind is Extent.SYSTEMIC and spread.share < SYSTEMIC_SHARE:
        having = spread.prefixes[spread.main_prefix]
        others = spread.files - having
        where = f"in {having} of {spread.prefix_files} files{of_type} from prefix {spread.main_prefix} {_when(spread)}"
        where += f", and in {_count(others, 'other')}" if others else ", and in no other"
    else:
        where = f"in {spread.files} of {spread.of_files} files{of_type} {_when(spread)}{_from(spread)}"
    after = f"; in none of the {_count(spread.files_after, 'file')} since" if spread.files_after else ""
    return f"{kind}: {where}{after}"


def overall(spreads: Sequence[Spread], files: int) -> tuple[Extent | None, str]:
    """The whole in a sentence: what kind of trouble it is, led by the error in the most files. None: there is none.

    Systemic as soon as one error is; one-off when all are. `files` is how many arrived.
    """
    if not spreads:
        return None, f"nothing went wrong in {_count(files, 'file')}" if files else "no file arrived"
    kinds = [extent_of(spread) for spread in spreads]
    kind = next(each for each in ORDER if each in kinds)
    if len(spreads) == 1:
        return kind, sentence(spreads[0])
    leading = max((spread for spread, its in zip(spreads, kinds, strict=True) if its is kind), key=_weight)
    same = kinds.count(kind)
    errors = f"{same} of {len(kinds)} different errors" if same < len(kinds) else f"all {same} different errors"
    return kind, f"{kind}: {errors}; the largest {sentence(leading).removeprefix(f'{kind}: ')}"


def _weight(spread: Spread) -> tuple[int, int]:
    return spread.files, spread.records


def _when(spread: Spread) -> str:
    if not spread.files_after:
        return f"since {_hour(spread.first_hour)}"
    if spread.first_hour == spread.last_hour:
        return f"in the hour from {_hour(spread.first_hour)}"
    return f"from {_hour(spread.first_hour)} to {_hour(spread.last_hour + timedelta(hours=1))}"


def _from(spread: Spread) -> str:
    prefix, known = spread.main_prefix, [each for each in spread.prefixes if each is not None]
    files = spread.prefixes.get(prefix, 0)
    if prefix is None or len(spread.of_prefixes) <= 1:
        return ""
    if files >= PREFIX_SHARE * spread.files:
        return f", all from prefix {prefix}" if files == spread.files else f", {files} of them from prefix {prefix}"
    return f", from {len(known)} prefixes" if len(known) > 1 else ""


def _hour(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
