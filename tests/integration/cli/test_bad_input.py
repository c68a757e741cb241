"""Bad input and missing services: one clear sentence each, an exit code that is not 0, nothing half-done."""

from __future__ import annotations

import pytest

from kato_tasks.bootstrap import Runtime
from tests.integration.cli.running import Cli, Imports, Ran

MAPPED = ("--session", "s", "--strings", "a")
NOBODY = "redis://127.0.0.1:9/2"


def one_sentence(ran: Ran) -> str:
    """The one line on stderr, with nothing on stdout."""
    assert ran.out == ""
    lines = ran.err.strip().splitlines()
    assert len(lines) == 1, ran.err
    return lines[0].removeprefix("Error: ")


@pytest.mark.parametrize(
    ("data", "words", "parts"),
    [
        ("id,b\nx,1\n", MAPPED, ["a.csv has no column 's'", "its columns are: id, b"]),
        ("s,b\nx,1\n", MAPPED, ["a.csv has no column 'a'", "its columns are: s, b"]),
        ("s,a\nx,1\n", (*MAPPED, "--emotive", "mood=c"), ["has no column 'c'"]),
        ("s,a\nx,1\n", (*MAPPED, "--emotive", "mood"), ["--emotive 'mood' is not NAME=COLUMN"]),
        ("s,a\nx,1\n", (*MAPPED, "--delimiter", "ab"), ["--delimiter 'ab' is not one character"]),
        ("s,a\nx,1\n", ("--strings", "a"), ["no column is given for the session; add --session"]),
        ("s,a\nx,1\n", ("--session", "s"), ["there is nothing to observe", "--strings"]),
        ("s,a\nx,1\n", (), ["no column is given for the session; add --session"]),
        ("", MAPPED, ["a.csv is empty"]),
        (b"s,a\nx,1\nx,caf\xe9\n", MAPPED, ["a.csv is not UTF-8 (byte 13, line 3)", "iconv", "nothing was imported"]),
        (b"s,caf\xe9\n", MAPPED, ["a.csv is not UTF-8 (byte 5, line 1)"]),
        ("s,a\nx,1\n".encode("utf-16"), MAPPED, ["a.csv is not UTF-8 but UTF-16"]),
        (b"\x1f\x8b\x08damaged", MAPPED, ["a.csv is a damaged gzip file"]),
    ],
)
def test_a_file_that_cannot_be_imported(
    cli: Cli, imports: Imports, data: str | bytes, words: tuple[str, ...], parts: list[str]
) -> None:
    cli.write("a.csv", data)
    ran = cli("import", "a.csv", *words)
    sentence = one_sentence(ran)
    assert ran.code == 1
    for part in parts:
        assert part in sentence
    assert imports.total() == 0


def test_a_file_that_is_not_there(cli: Cli) -> None:
    ran = cli("import", "none.csv", *MAPPED)
    assert (ran.code, one_sentence(ran)) == (1, "none.csv does not exist; check the path")


def test_a_directory(cli: Cli) -> None:
    ran = cli("import", ".", *MAPPED)
    assert (ran.code, one_sentence(ran)) == (1, ". is a directory; give one file")


def test_rejects_that_cannot_be_written(cli: Cli) -> None:
    cli.write("a.csv", "s,a\nx\n")
    ran = cli("import", "a.csv", *MAPPED, "--rejects", "no/such/dir.jsonl")
    assert ran.code == 1
    assert "cannot be written to no/such/dir.jsonl (No such file or directory)" in one_sentence(ran)
    assert "--rejects" in one_sentence(ran)


@pytest.mark.parametrize(
    "words", [("import", "a.csv", *MAPPED), ("status",), ("wait",), ("sessions", "list"), ("dead-letters", "list")]
)
def test_redis_down_at_start(cli: Cli, words: tuple[str, ...]) -> None:
    cli.write("a.csv", "s,a\nx,1\n")
    ran = cli(*words, STORE_URL="redis://:secret@127.0.0.1:9/2")
    sentence = one_sentence(ran)
    assert ran.code == 2
    assert sentence.startswith("Redis does not answer: ")
    assert "start Redis at redis://:***@127.0.0.1:9/2, or set KATO_TASKS_STORE_URL" in sentence
    assert "secret" not in sentence
    assert ("nothing was imported" in sentence) == (words[0] == "import")


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("STORE_URL", "http://127.0.0.1", ["KATO_TASKS_STORE_URL", "redis://host:port/db"]),
        ("KATO_URL", "x", ["KATO_TASKS_KATO_URL is not a setting; did you mean KATO_TASKS_KATO_URLS?"]),
        ("STORE_URL", "redis://127.0.0.1:x/2", ["STORE_URL", "redis://host:port/db"]),
        ("KATO_URLS", "127.0.0.1:8000", ["KATO_TASKS_KATO_URLS", "http://host:port"]),
        ("KATO_URLS", "", ["KATO_TASKS_KATO_URLS", "is empty", "http://127.0.0.1:8000"]),
        ("SHARDS", "many", ["KATO_TASKS_SHARDS", "whole number"]),
        ("LEASE_SECONDS", "1", ["KATO_TASKS_RENEW_SECONDS must be at most half of KATO_TASKS_LEASE_SECONDS (1)"]),
    ],
)
def test_a_setting_that_cannot_work_is_named(cli: Cli, name: str, value: str, parts: list[str]) -> None:
    cli.write("a.csv", "s,a\nx,1\n")
    cli.settings[name] = value
    ran = cli("import", "a.csv", *MAPPED)
    sentence = one_sentence(ran)
    assert ran.code == 2
    for part in parts:
        assert part in sentence


def test_a_store_that_may_drop_keys_is_refused(cli: Cli, rt: Runtime) -> None:
    cli.write("a.csv", "s,a\nx,1\n")
    rt.redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        ran = cli("import", "a.csv", *MAPPED)
    finally:
        rt.redis.config_set("maxmemory-policy", "noeviction")
    assert ran.code == 2
    assert "maxmemory-policy is allkeys-lru, so Redis may drop events; set it to noeviction" in one_sentence(ran)


def test_kato_down_does_not_concern_an_import_and_is_named_by_status(cli: Cli, imports: Imports) -> None:
    cli.write("a.csv", "s,a\nx,1\n")
    assert cli("import", "a.csv", *MAPPED).code == 0
    ran = cli("status")
    assert ran.code == 1
    assert "degraded: KATO at http://127.0.0.1:9 does not answer: " in ran.err
    assert imports.total() == 1


def test_a_session_that_is_not_known(cli: Cli) -> None:
    ran = cli("sessions", "show", "nobody")
    assert ran.code == 1
    assert one_sentence(ran) == "session 'nobody' is not known; kato-tasks sessions list shows those that are"


def test_a_dead_letter_that_is_not_there(cli: Cli) -> None:
    for command in ("show", "redrive", "discard"):
        ran = cli("dead-letters", command, "abc")
        assert ran.code == 1
        assert one_sentence(ran) == "no dead letter has the id 'abc'; kato-tasks dead-letters list shows them"


def test_an_option_that_does_not_exist_is_a_usage_error(cli: Cli) -> None:
    ran = cli("import", "a.csv", "--sesion", "x")
    assert ran.code == 2
    assert "No such option" in ran.err
