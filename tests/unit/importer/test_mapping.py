from __future__ import annotations

import json
from typing import Any

import pytest

from kato_tasks.importer import BadInput, Columns
from kato_tasks.importer.errors import RowRejected
from kato_tasks.importer.mapping import cells_mapper, check_header, objects_mapper
from kato_tasks.importer.records import sniff_delimiter

HEADER = ["when", "case", "what", "who", "mood", "dept"]


def cells(*row: str, **columns: Any) -> dict[str, Any]:
    return cells_mapper(Columns(session="case", **columns), HEADER)(list(row))


def obj(row: Any, **columns: Any) -> dict[str, Any]:
    return objects_mapper(Columns(session="case", **columns))(row)


def test_a_row_becomes_a_standard_event() -> None:
    event = cells(
        "2025-11-13T10:30:00Z",
        "Case 7",
        "login",
        "ann",
        "0.5",
        "it",
        node_column="dept",
        strings=("what", "who"),
        emotives=(("sentiment", "mood"),),
        timestamp="when",
        metadata=("who",),
    )
    assert event == {
        "session_id": "Case 7",
        "node_id": "it",
        "timestamp": "2025-11-13T10:30:00Z",
        "observation": {
            "strings": ["login", "ann"],
            "vectors": [],
            "emotives": {"sentiment": 0.5},
            "metadata": {"who": "ann"},
        },
    }


def test_empty_cells_are_left_out() -> None:
    event = cells(
        "",
        "Case 7",
        "login",
        "",
        "",
        "",
        node_column="dept",
        strings=("what", "who"),
        emotives=(("sentiment", "mood"),),
        timestamp="when",
        metadata=("who",),
    )
    assert event["observation"] == {"strings": ["login"], "vectors": [], "emotives": {}, "metadata": {}}
    assert event["node_id"] is None
    assert "timestamp" not in event


def test_a_prefix_names_the_column() -> None:
    assert cells("", "c", "login", "ann", "", "", strings=("what", "who"), prefix=True)["observation"]["strings"] == [
        "what:login",
        "who:ann",
    ]


def test_a_literal_node_is_for_every_row() -> None:
    assert cells("", "c", "login", "", "", "it", node="desk", strings=("what",))["node_id"] == "desk"


def test_a_ragged_row_is_rejected_with_both_widths() -> None:
    with pytest.raises(RowRejected, match="has 2 cells, and the header has 6"):
        cells("a", "b", strings=("what",))


def test_an_emotive_that_is_no_number_is_rejected_by_name_and_column() -> None:
    with pytest.raises(RowRejected, match=r"emotives\.sentiment: 'high' in column 'mood' is not a number"):
        cells("", "c", "x", "", "high", "", strings=("what",), emotives=(("sentiment", "mood"),))


def test_a_flat_object_is_mapped_like_a_row() -> None:
    event = obj({"case": 7, "what": True, "more": {"x": 1}, "mood": 1.5}, strings=("what",), emotives=(("m", "mood"),))
    assert event["session_id"] == "7"
    assert event["observation"]["strings"] == ["true"]
    assert event["observation"]["emotives"] == {"m": 1.5}


def test_a_list_in_a_strings_field_is_several_strings() -> None:
    event = obj({"case": "c", "tags": ["a", "", 2], "what": "z"}, strings=("what", "tags"), prefix=True)
    assert event["observation"]["strings"] == ["what:z", "tags:a", "tags:2"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([1], "is a JSON array, not an object"),
        ({"what": "x"}, "has no field 'case'"),
        ({"case": "c", "what": {"a": 1}}, "what: is a JSON object"),
        ({"case": "c", "what": [["a"]]}, "what: is a JSON array"),
    ],
)
def test_an_object_that_cannot_be_mapped_is_rejected(row: Any, reason: str) -> None:
    with pytest.raises(RowRejected, match=reason):
        obj(row, strings=("what",))


def test_without_a_mapping_an_object_is_a_standard_event() -> None:
    event = {"session_id": "a", "observation": {"strings": ["x"]}}
    assert objects_mapper(Columns())(event) == event


def test_a_missing_column_is_named_beside_those_that_are_there() -> None:
    with pytest.raises(BadInput, match=r"x\.csv has no column 'ticket'; its columns are: when, case, what"):
        check_header(Columns(session="ticket", strings=("what",)), HEADER, "x.csv")


def test_a_column_that_is_there_twice_is_refused() -> None:
    with pytest.raises(BadInput, match="has 2 columns named 'a'; rename all but one"):
        check_header(Columns(session="a", strings=("b",)), ["a", "b", "a"], "x.csv")


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (Columns(strings=("a",)), "no column is given for the session; add --session COLUMN"),
        (Columns(node="n"), "no column is given for the session"),
        (Columns(session="s"), "there is nothing to observe; name columns with --strings"),
        (
            Columns(session="s", strings=("a",), node="n", node_column="c"),
            "--node and --node-column exclude each other",
        ),
    ],
)
def test_options_that_make_no_sense_together_are_refused(columns: Columns, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        columns.check()


def test_every_mapping_option_is_part_of_the_seed() -> None:
    base = Columns(session="s", strings=("a",))
    others = [
        Columns(session="t", strings=("a",)),
        Columns(session="s", strings=("b",)),
        Columns(session="s", strings=("a",), node="n"),
        Columns(session="s", strings=("a",), node_column="n"),
        Columns(session="s", strings=("a",), emotives=(("e", "c"),)),
        Columns(session="s", strings=("a",), timestamp="t"),
        Columns(session="s", strings=("a",), metadata=("m",)),
        Columns(session="s", strings=("a",), prefix=True),
    ]
    seeds = {columns.seed("csv") for columns in [base, *others]} | {base.seed("jsonl")}
    assert len(seeds) == len(others) + 2
    assert json.loads(base.seed("csv"))[0] == "kato-tasks import 1"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_out_from_the_header(delimiter: str) -> None:
    header = delimiter.join(["when, exactly" if delimiter != "," else "when", "case", "what"])
    assert sniff_delimiter(header, ["case", "what"]) == delimiter
