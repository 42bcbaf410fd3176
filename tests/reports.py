"""Reports made by hand, for tests of how they are shown."""

from __future__ import annotations

from datetime import UTC, date, datetime

from metadata.ledger.report_facts import UnknownKeyCount
from watcher.report.values import (
    CodeRate,
    Duplicates,
    ErrorGroup,
    HourVolume,
    Lateness,
    NullRate,
    PrefixVolume,
    Report,
    Rescue,
    SampleText,
    SilentType,
    TypeDayVolume,
    TypeVolume,
    Volume,
)
from watcher.report.verdicts import Extent

HOSTILE = (
    '\x1b[31m<script>alert("1")</script>\r\n\u202egnp.\x07 &amp; \'"><img src=x onerror=alert(1)> 数据' + "x" * 300
)
"""A name, key or record that wants to be obeyed by a terminal, by a browser, or to break a line."""

_NINE = datetime(2026, 1, 15, 9, tzinfo=UTC)


def an_error(
    message: str = "Expected `double`, got `str`", name: str | None = None, raw: str | None = None
) -> ErrorGroup:
    """38 files with one error."""
    file = name or "vehicle_events_20260115090000.json"
    samples = [SampleText(file, "id", 3, message, raw), SampleText(file, "id", None, message, None)]
    return ErrorGroup(
        file_type="vehicle_events",
        code="wrong_type",
        field="speed",
        message=message,
        whole_file=False,
        files=38,
        records=400,
        first_seen=_NINE,
        last_seen=_NINE.replace(hour=11),
        prefixes={name or "eu_trucks": 38},
        verdict=Extent.SYSTEMIC,
        sentence="systemic: in 38 of 40 files of vehicle_events since 2026-01-15 09:00, all from prefix "
        + (name or "eu_trucks"),
        samples=samples,
    )


def a_report(
    *, files: int = 40, clean: bool = False, hostile: bool = False, errors: list[ErrorGroup] | None = None
) -> Report:
    """Two days of one type; `hostile`: every text of a producer is HOSTILE; `clean`: nothing went wrong."""
    name, raw = (HOSTILE, HOSTILE) if hostile else (None, '{"speed": "fast"}')
    if errors is None:
        errors = [an_error(HOSTILE if hostile else "Expected `double`, got `str`", name, raw)]
    if clean or not files:
        errors = []
    rejected = 400 if errors else 0
    total = Volume(files, 100_000, 4000, 4000 - rejected, rejected, 3 if errors else 0, rejected / 4000)
    day = date(2026, 1, 15)

    def part(outcome: str, number: int, on: date) -> TypeDayVolume:
        return TypeDayVolume(number, 1000, 100, 90, 10, 0, 0.1, day=on, file_type="vehicle_events", outcome=outcome)

    volumes = [part("loaded", 9, date(2026, 1, 14)), part("loaded", 37, day)]
    volumes += [part("failed", 1, day), part("error", 2, day)]
    numbers = vars(total)
    report = Report(
        first=date(2026, 1, 14),
        last=day,
        file_type=None,
        made_at=_NINE.replace(hour=12),
        verdict=Extent.SYSTEMIC if errors else None,
        sentence=errors[0].sentence if errors else "nothing went wrong in 40 files" if files else "no file arrived",
        total=total,
        before=Volume(),
        volumes=volumes if files else [],
        types=[TypeVolume(**numbers, file_type="vehicle_events")] if files else [],
        prefixes=[PrefixVolume(**numbers, file_type="vehicle_events", prefix=name or "eu_trucks")] if files else [],
        hours=[HourVolume(**numbers, hour=_NINE)] if files else [],
        codes=[CodeRate("vehicle_events", "wrong_type", name or "speed", 38, 400, 0.1)] if errors else [],
        errors=errors,
        different_errors=len(errors),
        silent=[SilentType("vehicle_status", None, None, None, None, None, "vehicle_status: never seen")],
    )
    if not errors:
        report.nulls = [NullRate("vehicle_events", "raw_data.vehicle_events", "speed", 9, 0, 0, 0, 0, False, False)]
        return report
    report.nulls = [
        NullRate("vehicle_events", "raw_data.vehicle_events", "speed", 100, 41, 0.41, 0.02, 0.39, True, False),
        NullRate("ticks", "raw_data.ticks", "n", 100, 1, 0.01, None, None, False, True),
    ]
    report.rescued = [Rescue("vehicle_events", "raw_data.vehicle_events", 100, 40, 0.4, 0.0)]
    classes = {"early": 1, "1 min": 30, "5 min": 6, "15 min": 0, "1 h": 0, "6 h": 2, "24 h": 0, "7 d": 1, "more": 0}
    report.late = [Lateness("vehicle_events", 40, 1, 3000, name or "late.json", 3, 1, classes)]
    report.duplicates = [Duplicates("vehicle_events", 1, 2, 3, 4)]
    report.unknown_fields = [UnknownKeyCount("vehicle_events", name or "gear", 7, 2, raw or "3", _NINE, _NINE)]
    report.notes = ["raw records could not be told: the warehouse is away"]
    return report
