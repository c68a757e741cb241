"""The rejects file: mended and imported, its rows are those of the file that they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from kato_tasks.bootstrap import Runtime
from tests.integration.cli.running import Cli, Imports

MAPPED = ("--session", "s", "--strings", "a")
DATA = "s,a\nx,1\nx,2,3\ny,1\ny\n"

pytestmark = pytest.mark.usefixtures("inside")


def mend(path: Path, mended: Mapping[str, str]) -> None:
    """Change the raw text of rejected rows, as a person with an editor does."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["raw"] = mended.get(row["raw"], row["raw"])
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


@pytest.fixture
def rejected(cli: Cli, rt: Runtime) -> Path:
    cli.write("a.csv", DATA)
    ran = cli("import", "a.csv", *MAPPED)
    assert ran.code == 3
    return cli.directory / "a.csv.rejects.jsonl"


def test_a_mended_rejects_file_is_imported_without_options_and_then_the_mended_file_adds_nothing(
    cli: Cli, imports: Imports, rejected: Path
) -> None:
    mend(rejected, {"x,2,3": "x,2"})
    ran = cli("import", rejected.name, "--json")
    assert ran.code == 3, ran.err
    assert (ran.json["appended"], ran.json["rejected"]) == (1, 1)
    assert ran.json["rejects"] == "a.csv.rejects-2.jsonl"
    mend(cli.directory / "a.csv.rejects-2.jsonl", {"y": "y,2"})
    assert cli("import", "a.csv.rejects-2.jsonl", "--json").json["appended"] == 1
    assert imports.strings("x") == imports.strings("y") == ["1", "2"]
    assert cli("import", rejected.name, "--json").json["appended"] == 0
    assert cli("import", "a.csv", *MAPPED, "--json").json["appended"] == 0, "the file as it was"
    cli.write("a.csv", DATA.replace("x,2,3", "x,2").replace("y\n", "y,2\n"))
    again = cli("import", "a.csv", *MAPPED, "--json")
    assert (again.code, again.json["appended"], again.json["duplicates"]) == (0, 0, 4)


def test_a_row_mended_in_the_rejects_alone_is_no_reject_of_its_file_any_more(cli: Cli, rejected: Path) -> None:
    mend(rejected, {"x,2,3": "x,2", "y": "y,2"})
    assert cli("import", rejected.name).code == 0
    cli.write("a.csv", DATA + "x,3\n")
    again = cli("import", "a.csv", *MAPPED, "--json")
    assert (again.code, again.json["appended"], again.json["rejected"]) == (0, 1, 0)


def test_a_row_mended_in_its_file_is_known_in_the_rejects(cli: Cli, rejected: Path) -> None:
    cli.write("a.csv", DATA.replace("x,2,3", "x,2").replace("y\n", "y,2\n"))
    assert cli("import", "a.csv", *MAPPED, "--json").json["appended"] == 2
    mend(rejected, {"x,2,3": "x,2", "y": "y,2"})
    assert cli("import", rejected.name, "--json").json["appended"] == 0


def test_a_mended_row_that_equals_others_is_an_event_of_its_own(
    cli: Cli, imports: Imports, rejected: Path, rt: Runtime
) -> None:
    mend(rejected, {"x,2,3": "x,1", "y": "y,1"})
    assert cli("import", rejected.name, "--json").json["appended"] == 2
    for key in rt.redis.scan_iter("kt:*:ids:*"):
        rt.redis.delete(key)
    assert cli("import", rejected.name, "--json").json["appended"] == 0
    mended = DATA.replace("x,2,3", "x,1").replace("y\n", "y,1\n")
    cli.write("a.csv", mended + "x,1\n")
    assert cli("import", "a.csv", *MAPPED, "--json").json["appended"] == 1, "the row below is new"
    assert imports.strings("x") == ["1", "1", "1"]


def test_a_mended_row_that_has_moved_in_its_file_is_asked_about(imports: Imports, cli: Cli, rejected: Path) -> None:
    mend(rejected, {"x,2,3": "x,2", "y": "y,2"})
    cli("import", rejected.name)
    cli.write("a.csv", "s,a\nnew,1\nx,1\nx,2\ny,1\ny,2\n")
    ran = cli("import", "a.csv", *MAPPED)
    assert ran.code == 2
    assert "line 4 of a.csv has the content of a row that was imported, mended, from a rejects file" in ran.err
    assert cli("import", "a.csv", *MAPPED, "--changed", "skip", "--json").json["appended"] == 1
    assert cli("import", "a.csv", *MAPPED, "--json").json["appended"] == 0


def test_a_reject_that_may_be_in_its_file_elsewhere_by_now_is_asked_about(cli: Cli, rejected: Path) -> None:
    cli.write("a.csv", "s,a\nnew,1\nx,1\nx,2\ny,1\ny\n")
    assert cli("import", "a.csv", *MAPPED, "--json").json["appended"] == 2
    mend(rejected, {"x,2,3": "x,2"})
    ran = cli("import", rejected.name)
    assert ran.code == 2
    assert "a row with this content was imported since then from line 4" in ran.err
    ran = cli("import", rejected.name, "--changed", "skip", "--json")
    assert (ran.json["appended"], ran.json["skipped"]) == (0, 1)


def test_the_end_line_says_what_to_do_with_the_rejects(cli: Cli) -> None:
    cli.write("a.csv", DATA)
    out = cli("import", "a.csv", *MAPPED).out
    assert "2 rejected (see a.csv.rejects.jsonl; mend their raw text and import that file)" in out


def test_json_lines_and_metadata_and_emotives_are_mended_too(imports: Imports, cli: Cli) -> None:
    cli.write("a.jsonl", '{"session_id":"x","observation":{"strings":["a"]}}\n{"session_id":"x","observation":{}}\n')
    cli("import", "a.jsonl")
    mend(
        cli.directory / "a.jsonl.rejects.jsonl",
        {'{"session_id":"x","observation":{}}': '{"session_id":"x","observation":{"strings":["b"]}}'},
    )
    assert cli("import", "a.jsonl.rejects.jsonl").code == 0
    assert imports.strings("x") == ["a", "b"]
    cli.write("b.csv", "who,what,m,e\nz,1,red,bad\n")
    words = ("--session", "who", "--strings", "what", "--metadata", "m", "--emotive", "mood=e", "--node", "n")
    assert cli("import", "b.csv", *words).code == 1
    mend(cli.directory / "b.csv.rejects.jsonl", {"z,1,red,bad": "z,1,red,0.5"})
    assert cli("import", "b.csv.rejects.jsonl").code == 0
    seen = imports.log("z")[0]["observation"]
    assert (seen["metadata"], seen["emotives"]) == ({"m": "red"}, {"mood": 0.5})


def test_rejects_of_standard_input_are_named_after_their_source(cli: Cli) -> None:
    ran = cli("import", "-", "--format", "csv", "--source", "day 17", *MAPPED, stdin=DATA.encode())
    assert "(see day_17.rejects.jsonl; " in ran.out
    mend(cli.directory / "day_17.rejects.jsonl", {"x,2,3": "x,2", "y": "y,2"})
    assert cli("import", "day_17.rejects.jsonl", "--json").json["appended"] == 2
    again = DATA.replace("x,2,3", "x,2").replace("y\n", "y,2\n").encode()
    ran = cli("import", "-", "--format", "csv", "--source", "day 17", *MAPPED, "--json", stdin=again)
    assert (ran.json["appended"], ran.json["duplicates"]) == (0, 4)


def test_a_rejects_file_that_was_broken_while_it_was_mended_names_the_line(cli: Cli, rejected: Path) -> None:
    text = rejected.read_text().splitlines()
    rejected.write_text(f"{text[0]}\n{text[1][:-5]}\n")
    ran = cli("import", rejected.name)
    assert ran.code == 1
    assert "line 2 of a.csv.rejects.jsonl is not a line of a rejects file; change only the text in its raw" in ran.err


def test_mended_rows_are_learned_where_that_is_asked_for(imports: Imports, cli: Cli) -> None:
    cli.write("a.csv", DATA)
    cli("import", "a.csv", *MAPPED, "--learn")
    mend(cli.directory / "a.csv.rejects.jsonl", {"x,2,3": "x,2"})
    ran = cli("import", "a.csv.rejects.jsonl", "--learn")
    assert "1 learn at sessions' ends, whose new rows are patterns of their own" in ran.out
    assert imports.strings("x") == ["1", "learn", "2", "learn"]
    assert cli("import", "a.csv", *MAPPED, "--learn", "--json").json["learns"] == 0
