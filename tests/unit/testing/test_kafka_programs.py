"""Where the tests' Kafka comes from: a Java that is new enough, and jars that Maven brings as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kato_tasks.testing.kafka import fetch_jars, has_jars, java_program, kafka_programs, missing_part
from kato_tasks.testing.services import ServiceFailed

FETCHES = """\
for word in "$@"; do case "$word" in -DoutputDirectory=*) jars=${word#*=};; esac; done
mkdir "$jars" && touch "$jars/zstd-jni.jar" "$jars/kafka_2.13-4.1.0.jar"
"""
BREAKS_OFF = FETCHES + "echo 'no route to the repository'; exit 1\n"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that stands first on PATH, where each program is a script of the test's."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setenv("KATO_KAFKA_JARS", str(tmp_path / "cache" / "lib"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return directory


def put(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}")
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("version", "is_taken"),
    [("1.8.0_402", False), ("11.0.22", False), ("17.0.21.1", True), ("21-ea", True), ("nonsense", False)],
)
def test_a_java_is_taken_from_version_17_on(programs: Path, version: str, is_taken: bool) -> None:
    put(programs / "java", f"echo 'openjdk version \"{version}\" 2026-11-17' >&2\n")
    assert java_program() == (str(programs / "java") if is_taken else None)


def test_java_home_goes_before_path(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(programs / "java", "echo 'openjdk version \"17.0.1\"' >&2\n")
    (tmp_path / "home" / "bin").mkdir(parents=True)
    put(tmp_path / "home" / "bin" / "java", "echo 'openjdk version \"21.0.1\"' >&2\n")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert java_program() == str(tmp_path / "home" / "bin" / "java")


def test_fetched_jars_make_a_kafka_where_a_java_is(programs: Path, tmp_path: Path) -> None:
    put(programs / "java", "echo 'openjdk version \"17.0.1\"' >&2\n")
    put(programs / "mvn", FETCHES)
    assert kafka_programs() is None
    assert "python -m tests.services fetch" in missing_part()
    fetch_jars()
    assert kafka_programs() == tmp_path / "cache" / "lib"
    assert missing_part() == ""
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lib"]


def test_a_fetch_that_breaks_off_leaves_nothing_and_says_why(programs: Path, tmp_path: Path) -> None:
    put(programs / "mvn", BREAKS_OFF)
    with pytest.raises(ServiceFailed, match="no route to the repository"):
        fetch_jars()
    assert not has_jars()
    assert list((tmp_path / "cache").iterdir()) == []


def test_jars_are_replaced_by_those_of_a_later_fetch(programs: Path, tmp_path: Path) -> None:
    put(programs / "mvn", FETCHES)
    fetch_jars()
    (tmp_path / "cache" / "lib" / "left-over.jar").touch()
    fetch_jars()
    assert sorted(path.name for path in (tmp_path / "cache" / "lib").iterdir()) == [
        "kafka_2.13-4.1.0.jar",
        "zstd-jni.jar",
    ]


def test_without_maven_the_sentence_says_what_to_install(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(ServiceFailed, match="apt-get install maven"):
        fetch_jars()
