from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from metadata import logs
from metadata.logs import Event, Severity, alert, configure, get_logger

ROOT = Path(__file__).parents[2]
SOURCE = Path(logs.__file__).read_text()


@pytest.fixture(autouse=True)
def untouched_logging() -> Iterator[None]:
    """Loggers and hooks are as they were before the test."""
    root, ours = logging.getLogger(), logging.getLogger("lemonade")
    before = (root.handlers[:], root.level, ours.level, sys.excepthook, threading.excepthook, sys.unraisablehook)
    yield
    root.handlers[:], level, our_level, sys.excepthook, threading.excepthook, sys.unraisablehook = before
    root.setLevel(level)
    ours.setLevel(our_level)
    logging.captureWarnings(False)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Every line that was logged, as strict JSON."""

    def refuse(text: str) -> None:
        raise ValueError(text)

    return [json.loads(line, parse_constant=refuse) for line in stream.getvalue().splitlines()]


@pytest.fixture
def stream() -> io.StringIO:
    """Where JSON lines go, from DEBUG on."""
    target = io.StringIO()
    configure("DEBUG", "json", target)
    return target


def test_our_line_begins_with_time_level_and_event(stream: io.StringIO) -> None:
    """A line is one JSON object: time in UTC, level, event, then the facts in the order given."""
    get_logger().info(Event.FILE_CLAIMED, file_id="a", size_bytes=3)
    (line,) = lines(stream)
    assert list(line) == ["timestamp", "level", "event", "file_id", "size_bytes"]
    assert line["event"] == "file.claimed" and line["level"] == "info"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["timestamp"])
    assert abs((datetime.fromisoformat(line["timestamp"]) - datetime.now(UTC)).total_seconds()) < 60


def test_library_lines_have_the_same_form(stream: io.StringIO) -> None:
    """A library's record is `library.logged` with its logger and its message."""
    logging.getLogger("pyiceberg.io").warning("lost %s of\n%d", "one", 2)
    (line,) = lines(stream)
    assert list(line) == ["timestamp", "level", "event", "logger", "message"]
    assert (line["event"], line["logger"], line["message"]) == ("library.logged", "pyiceberg.io", "lost one of\n2")


def test_library_line_with_wrong_arguments_is_still_json(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments that do not fit a library's own format string cost no traceback between the JSON lines."""
    root = logging.getLogger()
    ours = [each for each in root.handlers if isinstance(each, logging.StreamHandler) and each.stream is stream]
    monkeypatch.setattr(root, "handlers", ours)  # pytest's own handlers raise
    logging.getLogger("py4j").error("%s %s", "one")
    (line,) = lines(stream)
    assert line["message"] == "%s %s" and "not enough arguments" in line["fault"]


def test_warnings_are_logged(stream: io.StringIO) -> None:
    """`warnings.warn` ends in the log."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure("INFO", "json", stream)
        warnings.warn("careful", UserWarning, stacklevel=1)
    assert "careful" in lines(stream)[0]["message"]


def test_exceptions_stand_inside_the_line(stream: io.StringIO) -> None:
    """A traceback is a fact of its line, ours and a library's."""
    try:
        raise ValueError("two\nlines")
    except ValueError:
        get_logger().exception(Event.SPARK_LOST)
        logging.getLogger("schedule").exception("job failed")
    ours, theirs = lines(stream)
    assert "ValueError: two\nlines" in ours["exception"] and ours["level"] == "error"
    assert "ValueError: two\nlines" in theirs["exception"] and theirs["message"] == "job failed"
    assert "exc_info" not in ours


class Mute:
    """A value whose text cannot be made."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_any_value_makes_strict_json(stream: io.StringIO) -> None:
    """Paths, times, sets, NaN, odd keys, circles, lone surrogates and worse leave as JSON, never as an error."""
    circle: list[Any] = []
    circle.append(circle)
    log = get_logger()
    log.info(
        Event.FILE_CLAIMED, path=Path("/a"), at=datetime(2026, 1, 15, tzinfo=UTC), many={2, 1}, name="a\udcff\u2028\n"
    )
    log.info(Event.FILE_CLAIMED, not_a_number=float("nan"))
    log.info(Event.FILE_CLAIMED, keys={(1, 2): 3}, circle=circle, mute=Mute(), kept=1)
    first, second, third = lines(stream)
    assert (first["path"], first["at"], first["many"]) == ("/a", "2026-01-15T00:00:00+00:00", [1, 2])
    assert first["name"] == "a\udcff\u2028\n"
    assert second["not_a_number"] == "nan"
    assert third["mute"] == "<Mute without text>" and third["kept"] == "1"
    assert stream.getvalue().isascii()


def test_facts_cannot_hide_time_level_or_event(stream: io.StringIO) -> None:
    """A fact called `level` or `timestamp` does not take the place of the real one."""
    get_logger().warning(Event.FILE_HELD, level="mine", timestamp="never", logger="x")
    (line,) = lines(stream)
    assert line["level"] == "warning" and line["timestamp"] != "never" and line["logger"] == "x"


def test_alert_carries_severity_and_code(stream: io.StringIO) -> None:
    """An alert is a line with `alert`, `severity` and `code`, logged at its severity."""
    for severity in Severity:
        alert(Event.TYPE_BROKEN, severity=severity, code="bad_definition", file_type="x")
    assert [line["level"] for line in lines(stream)] == ["info", "warning", "error", "critical"]
    assert lines(stream)[3] | {"timestamp": ""} == {
        "timestamp": "",
        "level": "critical",
        "event": "type.broken",
        "alert": True,
        "severity": "critical",
        "code": "bad_definition",
        "file_type": "x",
    }


def test_configuring_twice_logs_once() -> None:
    """The last configuration alone holds; handlers of others stay."""
    first, second = io.StringIO(), io.StringIO()
    other = logging.NullHandler()
    logging.getLogger().addHandler(other)
    configure("INFO", "json", first)
    configure("INFO", "json", second)
    get_logger().info(Event.HOUR_STRUCK)
    assert first.getvalue() == "" and len(lines(second)) == 1
    assert other in logging.getLogger().handlers


def test_level_holds_for_what_is_written_not_for_who_listens() -> None:
    """With LOG_LEVEL=ERROR nothing below is written, yet a listener hears watchdog's overflow warning."""
    target, heard = io.StringIO(), []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    watchdog = logging.getLogger("watchdog.observers.inotify_c")
    listener = Listener()
    watchdog.addHandler(listener)
    try:
        configure("ERROR", "json", target)
        watchdog.warning("Inotify queue overflowed; filesystem events were lost")
        get_logger().warning(Event.FILE_HELD)
    finally:
        watchdog.removeHandler(listener)
    assert heard == ["Inotify queue overflowed; filesystem events were lost"]
    assert target.getvalue() == ""


def test_libraries_are_quiet_below_warning() -> None:
    """At INFO the libraries' own chatter stays out, ours comes."""
    target = io.StringIO()
    configure("INFO", "json", target)
    logging.getLogger("alembic").info("Context impl SQLiteImpl")
    get_logger().info(Event.SCAN_FINISHED)
    get_logger().debug(Event.FILE_HELD)
    assert [line["event"] for line in lines(target)] == ["scan.finished"]


def test_uncaught_exceptions_are_one_line(stream: io.StringIO) -> None:
    """What nobody caught, in a thread or in a destructor, is a `crash` line, not a bare traceback."""

    def fail() -> None:
        raise KeyError("lost")

    class Failing:
        def __del__(self) -> None:
            raise OSError("late")

    thread = threading.Thread(target=fail, name="worker")
    thread.start()
    thread.join()
    failing = Failing()
    del failing
    in_thread, in_destructor = lines(stream)
    assert in_thread["event"] == "crash" and in_thread["alert"] is True and in_thread["severity"] == "critical"
    assert in_thread["code"] == "KeyError" and in_thread["thread"] == "worker" and "fail" in in_thread["exception"]
    assert in_destructor["event"] == "crash" and in_destructor["code"] == "OSError"


def test_dying_process_leaves_only_json() -> None:
    """A process that ends by an exception has written JSON alone to stderr, and nothing to stdout."""
    code = "from metadata.logs import configure\nconfigure('INFO', 'json')\nraise RuntimeError('gone\\nfor good')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    (line,) = [json.loads(each) for each in ended.stderr.splitlines()]
    assert ended.returncode == 1 and ended.stdout == ""
    assert (line["event"], line["code"], line["message"]) == ("crash", "RuntimeError", "gone\nfor good")


def test_unconfigured_logger_leaves_stdout_alone() -> None:
    """Before `configure` an event goes to stderr at most: stdout is for results."""
    code = "from metadata.logs import Event, get_logger\nget_logger().error(Event.FILE_FAILED)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert ended.returncode == 0 and ended.stdout == ""


def test_console_form_is_for_people() -> None:
    """`console` writes a readable line; without a terminal it has no colours, and `auto` there means JSON."""
    target = io.StringIO()
    configure("INFO", "console", target)
    get_logger().info(Event.FILE_CLAIMED, file_id="a")
    assert "file.claimed" in target.getvalue() and "file_id=a" in target.getvalue()
    assert "\x1b" not in target.getvalue() and not target.getvalue().startswith("{")
    target = io.StringIO()
    configure("INFO", "auto", target)
    get_logger().info(Event.FILE_CLAIMED)
    assert lines(target)[0]["event"] == "file.claimed"


def test_broken_stream_does_not_stop_the_work() -> None:
    """When stderr is gone, logging goes on in silence."""

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    configure("INFO", "json", Gone())
    get_logger().info(Event.HOUR_STRUCK)


def test_every_event_is_named_and_explained() -> None:
    """Event names are `noun.verbed`, and each has its explanation beside it."""
    for event in Event:
        assert event == "crash" or re.fullmatch(r"[a-z]+\.[a-z]+", event), event
        assert re.search(rf'^    {event.name} = "{event}"  #: \S', SOURCE, re.MULTILINE), event


def test_every_event_is_said_somewhere() -> None:
    """An event that nothing logs is a promise of the README's table that nobody keeps."""
    root = Path(__file__).resolve().parents[2]
    sources = [path for room in ("metadata", "processors", "watcher") for path in (root / room).rglob("*.py")]
    text = "".join(path.read_text() for path in sources if path.name != "logs.py")
    inside = {Event.LIBRARY_LOGGED, Event.LOG_LOST, Event.CRASH}  # said by logs.py itself
    assert [event for event in Event if event not in inside and f"Event.{event.name}" not in text] == []
