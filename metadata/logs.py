"""Logs: one JSON object a line on stderr (or a console form for terminals), ours and every library's alike.

Ours carry `timestamp`, `level`, `event` (a name of `Event`) and the facts; a library's record is a `library.logged`
with its `logger` and `message`. Alerts leave by `alert` and by nothing else.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, WrappedLogger


class Event(StrEnum):
    """The names of everything that is logged: `noun.verbed`."""

    DAEMON_STARTED = "daemon.started"  #: the daemon holds its lock and begins
    DAEMON_DRAINING = "daemon.draining"  #: it was told to stop and finishes the micro-batch in hand
    DAEMON_STOPPED = "daemon.stopped"  #: it ended in order
    DAEMON_REFUSED = "daemon.refused"  #: it cannot start: wrong settings, or another one runs on these folders

    SCAN_FINISHED = "scan.finished"  #: the folders were looked through and the registry read again
    OBSERVER_STARTED = "observer.started"  #: file events are being received
    OBSERVER_OVERFLOWED = "observer.overflowed"  #: the kernel dropped file events; a scan follows
    OBSERVER_FAILED = "observer.failed"  #: file events cannot be received; scans find the files

    FILE_CLAIMED = "file.claimed"  #: a whole file of an active type was taken into processing/
    FILE_HELD = "file.held"  #: no active type takes the file; it waits in held/
    FILE_RELEASED = "file.released"  #: a held file's type became active; it was claimed
    FILE_REFUSED = "file.refused"  #: the file is no data file or cannot be read; it went to failed/
    FILE_DUPLICATE = "file.duplicate"  #: the same delivery is loaded already; it went to duplicate/
    FILE_MISSING = "file.missing"  #: somebody removed a file that the ledger knows
    FILE_CHANGED = "file.changed"  #: its bytes changed after it was claimed; it left its batch and was claimed again
    FILE_FAILED = "file.failed"  #: the file could not be loaded; it went to failed/ or error/
    FILE_RETRIED = "file.retried"  #: a file that had failed was taken back into processing/
    FOLDER_IGNORED = "folder.ignored"  #: a folder inside incoming/ was left alone

    TYPE_DISCOVERED = "type.discovered"  #: a file of an unknown type came; an inactive type was registered
    TYPE_BROKEN = "type.broken"  #: a row of the registry is wrong; its type is stopped until it is corrected
    TYPE_STOPPED = "type.stopped"  #: a type cannot go on without a person
    TYPE_FLOODED = "type.flooded"  #: too many unknown types; files of further ones stay in incoming/
    TYPE_TIED = "type.tied"  #: several types match a file's name equally well; it is held
    DRAFT_MADE = "draft.made"  #: a schema was drafted from the held files of a type that has none
    DRAFT_FAILED = "draft.failed"  #: no schema could be drafted; the next files that are held try again

    FLUSH_STARTED = "flush.started"  #: a type's buffer was handed over
    FLUSH_FINISHED = "flush.finished"  #: all micro-batches of a flush are over
    BATCH_PLANNED = "batch.planned"  #: a micro-batch and its files are on record
    BATCH_SETTLED = "batch.settled"  #: the one canonical line of a micro-batch: what it loaded, where, how fast
    RECORDS_REJECTED = "records.rejected"  #: a micro-batch's bad records are in the quarantine, its good ones loaded
    BATCH_RETRIED = "batch.retried"  #: an attempt failed; another follows after a wait
    BATCH_ABANDONED = "batch.abandoned"  #: a micro-batch was given up before Prepare; its files are claimed again
    BATCH_HALVED = "batch.halved"  #: its attempt failed; its files are planned again as two, to find the one at fault
    BATCH_DEAD = "batch.dead"  #: a micro-batch is out of attempts; its files wait in failed/ for a person
    BACKFILL_SETTLED = "backfill.settled"  #: rescued values of old rows went into the columns of their fields
    UNDO_SETTLED = "undo.settled"  #: a file's or a micro-batch's rows were taken out of its table
    UNDO_ABANDONED = "undo.abandoned"  #: an undo was given up before it changed anything
    RECORDS_REPLAYED = "records.replayed"  #: rejected records passed today's schema and went into their table
    RECORDS_DISCARDED = "records.discarded"  #: rejected records were thrown away
    REPLAY_ABANDONED = "replay.abandoned"  #: a replay or discard was given up before it changed anything
    FILE_REPLACED = "file.replaced"  #: a file of the same name took the place of its rows
    RECOVERY_STARTED = "recovery.started"  #: start-up walks the micro-batches that were not settled
    RECOVERY_BATCH = "recovery.batch"  #: what start-up did with one micro-batch
    RECOVERY_OPERATION = "recovery.operation"  #: what start-up did with one undo, replay or discard
    RECOVERY_FINISHED = "recovery.finished"  #: start-up has put everything in order
    LEDGER_REBUILT = "ledger.rebuilt"  #: the ledger was older than the tables; what it forgot is in it again
    RECEIPT_UNREADABLE = "receipt.unreadable"  #: a micro-batch's receipt cannot be understood

    SPARK_STARTED = "spark.started"  #: a Spark session is up
    SPARK_STOPPED = "spark.stopped"  #: the Spark session was closed
    SPARK_LOST = "spark.lost"  #: the Spark session died; the next job makes a new one

    SUMMARY_STARTED = "summary.started"  #: days are being summarised
    SUMMARY_FINISHED = "summary.finished"  #: the days' summaries are committed
    SUMMARY_FAILED = "summary.failed"  #: a summary failed; its days stay dirty
    AUDIT_FINISHED = "audit.finished"  #: ledger, folders and tables were compared, and balance
    AUDIT_FAILED = "audit.failed"  #: they do not balance; `lemonade audit` lists why
    HOUR_STRUCK = "hour.struck"  #: the UTC hour struck; every buffer is flushed

    REQUEST_TAKEN = "request.taken"  #: the daemon took a command's request
    REQUEST_FINISHED = "request.finished"  #: the request was done
    REQUEST_FAILED = "request.failed"  #: the request could not be done

    WORLD_AWAY = "world.away"  #: disk, catalog, ledger or network do not answer; work is paused
    DISK_LOW = "disk.low"  #: a disk has less than MIN_FREE_BYTES free; files wait in incoming/
    DISK_BACK = "disk.back"  #: there is room again; files are claimed
    LOG_LOST = "log.lost"  #: so many log lines before this one did not fit on the disk of the log

    WORLD_BACK = "world.back"  #: they answer again; work goes on

    LIBRARY_LOGGED = "library.logged"  #: a library's log record, with its logger and message
    CRASH = "crash"  #: an exception that nobody caught: a bug


class Severity(StrEnum):
    """How urgent an alert is; also the level of its line."""

    INFO = "info"  #: nothing to do
    WARNING = "warning"  #: look when there is time
    ERROR = "error"  #: something was not loaded
    CRITICAL = "critical"  #: a person has to act


Format = Literal["auto", "json", "console"]
_LEVELS = {severity: getattr(logging, severity.name) for severity in Severity}
_OURS = "lemonade"


def get_logger() -> structlog.stdlib.BoundLogger:
    """The logger; may be called at import, before `configure`."""
    return cast("structlog.stdlib.BoundLogger", structlog.get_logger(_OURS))


def alert(event: Event, *, severity: Severity, code: str, **facts: Any) -> None:
    """Log `event` as an alert. `code` is a stable word to route and count by; the facts say the rest."""
    get_logger().log(_LEVELS[severity], event, alert=True, severity=severity.value, code=code, **facts)


def configure(level: str = "INFO", format: Format = "auto", stream: TextIO | None = None) -> None:
    """Send every log record, warning and uncaught exception of this process to `stream` (stderr); safe to repeat.

    Libraries speak from WARNING on, with `DEBUG` from INFO on. The level is the handler's, not the loggers': whoever
    listens to a library's logger (the observer does, for lost file events) hears it at any level.
    """
    target = sys.stderr if stream is None else stream
    is_console = format == "console" or (format == "auto" and target.isatty())
    handler = _Handler(target)
    handler.setLevel(level)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processors=[_complete, _console(target) if is_console else _render])
    )
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.INFO if level == "DEBUG" else logging.WARNING)
    logging.getLogger(_OURS).setLevel(level)
    logging.captureWarnings(True)
    sys.excepthook = _on_crash
    threading.excepthook = _on_thread_crash
    sys.unraisablehook = _on_unraisable


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, told from other handlers by its class."""

    _lost = 0  #: lines that the stream did not take

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, and before it how many were lost if some were."""
        if self._lost:
            facts = {"timestamp": _time(record), "level": "warning", "event": str(Event.LOG_LOST), "lines": self._lost}
            try:
                self.stream.write(_json(facts) + self.terminator)
                self.flush()
            except (OSError, ValueError):
                self._lost += 1
                return
            self._lost = 0
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        """A library's record whose arguments do not fit its format still leaves as one line.

        When the stream does not take it (its disk is full) the line is lost and counted: the work goes on.
        """
        error = sys.exception()
        if isinstance(error, OSError):
            self._lost += 1
            return
        facts = {
            "timestamp": _time(record),
            "level": record.levelname.lower(),
            "event": Event.LIBRARY_LOGGED,
            "logger": record.name,
            "message": str(record.msg),
            "fault": f"the message cannot be formatted: {error}",
        }
        try:
            self.stream.write(_json(facts) + self.terminator)
            self.flush()
        except (OSError, ValueError):  # the stream itself is gone: there is nowhere to say so
            return


def _complete(_logger: WrappedLogger, _method: str, facts: EventDict) -> EventDict:
    """Put time, level and event before the facts, and give a library's record its place."""
    record = cast("logging.LogRecord", facts.pop("_record"))
    is_ours = facts.pop("_from_structlog")
    event = facts.pop("event")
    line: EventDict = {"timestamp": _time(record), "level": record.levelname.lower()}
    if is_ours:
        line["event"] = str(event)
    else:
        line.update(event=str(Event.LIBRARY_LOGGED), logger=record.name, message=event)
    line.update((key, value) for key, value in facts.items() if key not in line)
    return structlog.processors.format_exc_info(_logger, _method, line)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _render(_logger: WrappedLogger, _method: str, facts: EventDict) -> str:
    return _json(facts)


def _console(stream: TextIO) -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), sort_keys=False, exception_formatter=structlog.dev.plain_traceback
    )


def _json(facts: EventDict) -> str:
    """One line of strict JSON in ASCII, whatever the values are: no terminal or locale can break it."""
    try:
        return json.dumps(facts, default=_plain, allow_nan=False)
    except Exception:  # a value whose text cannot be made, a key that is no text, a circle, NaN
        return json.dumps({str(key): _described(value) for key, value in facts.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return sorted(value, key=str) if isinstance(value, set | frozenset) else str(value)


def _described(value: Any) -> str:
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__} without text>"


def _on_crash(kind: type[BaseException], error: BaseException, _trace: Any) -> None:
    alert(Event.CRASH, severity=Severity.CRITICAL, code=kind.__name__, message=str(error), exc_info=error)


def _on_thread_crash(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit and args.exc_value is not None:
        alert(
            Event.CRASH,
            severity=Severity.CRITICAL,
            code=args.exc_type.__name__,
            message=str(args.exc_value),
            thread=args.thread.name if args.thread else None,
            exc_info=args.exc_value,
        )


def _on_unraisable(args: sys.UnraisableHookArgs) -> None:
    where = f"{args.err_msg or 'exception ignored in'} {args.object!r}"
    if args.exc_value is not None:
        get_logger().error(
            Event.CRASH, code=args.exc_type.__name__, message=str(args.exc_value), where=where, exc_info=args.exc_value
        )


# At import, so that an early line goes through logging and never to stdout, where results go.
structlog.configure(
    processors=[structlog.stdlib.filter_by_level, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    wrapper_class=structlog.stdlib.BoundLogger,
    logger_factory=structlog.stdlib.LoggerFactory(),
)
