"""What an import adds, and what it never adds twice. The importer runs in this process, on a real Redis."""

from __future__ import annotations

import gzip
import json
import threading

import pytest

from kato_tasks.bootstrap import Runtime
from kato_tasks.errors import StoreUnavailable
from kato_tasks.importer import BadInput, Undecided
from kato_tasks.importer import blocks as blocks_module
from kato_tasks.importer import intake as intake_module
from kato_tasks.importer.records import Form
from kato_tasks.importer.source import MAX_LINE_BYTES
from tests.integration.cli.running import Imports, Killed


def table(first: int, last: int, sessions: int = 3) -> str:
    return "".join(f"s{i % sessions},v{i}\n" for i in range(first, last + 1))


def expected(session: int, last: int, sessions: int = 3, first: int = 1) -> list[str]:
    return [f"v{i}" for i in range(first, last + 1) if i % sessions == session]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 10 lines, sent in parts of 4: every boundary is met with little data."""
    monkeypatch.setattr(blocks_module, "BLOCK_LINES", 10)
    monkeypatch.setattr(intake_module, "SEND_ENTRIES", 4)


def forget_ids(rt: Runtime) -> None:
    """As if the window in which single ids are remembered were over."""
    for key in rt.redis.scan_iter("kt:*:ids:*"):
        rt.redis.delete(key)


def test_rows_are_appended_in_their_order(imports: Imports, small_blocks: None) -> None:
    summary = imports("s,a\n" + table(1, 35))
    assert (summary.rows, summary.appended, summary.duplicates, summary.rejected) == (35, 35, 0, 0)
    assert [imports.strings(f"s{s}") for s in range(3)] == [expected(s, 35) for s in range(3)]


def test_the_same_file_twice_adds_nothing_and_sends_nothing(imports: Imports, small_blocks: None) -> None:
    imports("s,a\n" + table(1, 35))
    summary = imports("s,a\n" + table(1, 35))
    assert (summary.rows, summary.appended, summary.duplicates) == (35, 0, 35)
    assert imports.sent == 0
    assert imports.total() == 35


def test_the_same_file_long_after_adds_nothing(imports: Imports, rt: Runtime, small_blocks: None) -> None:
    imports("s,a\n" + table(1, 35))
    forget_ids(rt)
    assert imports("s,a\n" + table(1, 35)).appended == 0
    assert imports.total() == 35


@pytest.mark.parametrize("more", [36, 40, 41, 77])
def test_a_file_that_has_grown_adds_its_new_rows_alone(
    imports: Imports, rt: Runtime, small_blocks: None, more: int
) -> None:
    imports("s,a\n" + table(1, 35))
    forget_ids(rt)
    summary = imports("s,a\n" + table(1, more))
    assert (summary.rows, summary.appended) == (more, more - 35)
    assert [imports.strings(f"s{s}") for s in range(3)] == [expected(s, more) for s in range(3)]
    forget_ids(rt)
    assert imports("s,a\n" + table(1, more)).appended == 0


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_half_written_last_line_is_no_event_yet(imports: Imports, form: Form) -> None:
    def line(text: str) -> str:
        return f"s0,{text}" if form == "csv" else json.dumps({"session_id": "s0", "observation": {"strings": [text]}})

    head = "s,a\n" if form == "csv" else ""
    half, whole = f"{head}{line('home')}\n{line('sea')}", f"{head}{line('home')}\n{line('search')}\n"
    summary = imports(half, form=form)
    assert (summary.rows, summary.appended, summary.left_for_later) == (1, 1, 1)
    summary = imports(whole, form=form)
    assert (summary.appended, summary.left_for_later) == (1, 0)
    assert imports.strings("s0") == ["home", "search"]


def test_the_last_line_of_a_file_that_is_said_to_be_complete_needs_no_line_end(imports: Imports) -> None:
    assert imports("s,a\ns0,home\ns0,search", learn=True).left_for_later == 1
    assert imports.strings("s0") == ["home"], "nothing is learned before its end"
    assert imports("s,a\ns0,home\ns0,search", learn=True, complete=True).appended == 1
    assert imports.strings("s0") == ["home", "search", "learn"]


def test_a_last_line_of_a_gzip_file_needs_no_line_end(imports: Imports) -> None:
    assert imports(gzip.compress(b"s,a\ns0,home\ns0,search")).appended == 2


def test_a_last_line_that_is_over_long_is_left_for_later_too(imports: Imports) -> None:
    assert imports("s,a\ns0,home\ns0," + "x" * (MAX_LINE_BYTES + 10)).left_for_later == 1
    assert imports.rejects == []


@pytest.mark.parametrize("appends", range(9))
def test_an_import_that_dies_anywhere_is_completed_by_the_next(
    imports: Imports, small_blocks: None, appends: int
) -> None:
    with pytest.raises(Killed):
        imports("s,a\n" + table(1, 35), die_after=appends)
    summary = imports("s,a\n" + table(1, 35))
    assert summary.rows == 35
    assert imports.total() == 35
    assert [imports.strings(f"s{s}") for s in range(3)] == [expected(s, 35) for s in range(3)]


def test_a_file_that_grew_after_its_import_died_in_a_block_adds_each_row_once(
    imports: Imports, small_blocks: None
) -> None:
    with pytest.raises(Killed):
        imports("s,a\n" + table(1, 18), die_after=4)
    imports("s,a\n" + table(1, 44))
    assert imports.total() == 44
    assert imports.strings("s1") == expected(1, 44)


def test_another_file_with_the_same_header_and_first_rows_is_another_file(imports: Imports, small_blocks: None) -> None:
    """Falls when a row is known by what stands before it, and not by its file."""
    imports("s,a\n" + table(1, 12), file="monday.csv")
    summary = imports("s,a\n" + table(1, 5) + table(100, 106), file="tuesday.csv")
    assert (summary.appended, summary.duplicates) == (12, 0)
    assert imports.strings("s1") == expected(1, 12) + expected(1, 5) + expected(1, 106, first=100)


def test_both_of_two_files_with_one_beginning_are_remembered(imports: Imports, rt: Runtime, small_blocks: None) -> None:
    one, other = "s,a\n" + table(1, 12), "s,a\n" + table(1, 5) + table(100, 106)
    imports(one, file="one")
    imports(other, file="other")
    forget_ids(rt)
    assert imports(one, file="one").appended == imports(other, file="other").appended == 0


def test_another_mapping_of_what_is_observed_is_decided_by_a_person(imports: Imports) -> None:
    imports("s,a,b\nx,1,2\n")
    with pytest.raises(Undecided, match="--changed add"):
        imports("s,a,b\nx,1,2\n", strings=("b",))
    assert imports("s,a,b\nx,1,2\n", strings=("b",), changed="add").appended == 1
    assert imports.strings("x") == ["1", "2"]


def test_equal_rows_are_different_events(imports: Imports) -> None:
    assert imports("s,a\nx,same\nx,same\nx,same\n").appended == 3
    assert imports.strings("x") == ["same"] * 3


def test_two_imports_of_one_file_at_once_add_nothing_twice(
    rt: Runtime, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = "s,a\n" + table(1, 25_000, sessions=40)
    summaries, threads = [], []
    for _ in range(3):
        one = Imports(rt, tmp_path_factory.mktemp("import"))
        threads.append(threading.Thread(target=lambda one=one: summaries.append(one(data, name="one"))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(summaries) == 3
    assert sum(summary.appended for summary in summaries) == 25_000
    assert one.total() == 25_000
    assert one.strings("s7") == expected(7, 25_000, sessions=40)


def test_a_record_over_the_end_of_a_block_is_one_row_in_every_import(
    imports: Imports, rt: Runtime, small_blocks: None
) -> None:
    rows = [f's{i % 3},"v{i}\nx"\n' if i % 5 == 0 else f"s{i % 3},v{i}\n" for i in range(1, 40)]
    assert imports("s,a\n" + "".join(rows[:30])).rows == 30
    forget_ids(rt)
    assert imports("s,a\n" + "".join(rows[:30])).appended == 0
    assert imports("s,a\n" + "".join(rows)).appended == 9
    assert imports.total() == 39
    assert imports.strings("s2")[1] == "v5\nx"


def test_bad_rows_go_to_the_rejects_and_the_rest_goes_on(imports: Imports, small_blocks: None) -> None:
    data = b"s,a\n" + table(1, 12).encode() + b"ragged\n,empty session\nz,\nq,\xff\n" + table(13, 15).encode()
    summary = imports(data)
    assert (summary.rows, summary.appended, summary.rejected) == (19, 15, 4)
    assert [(r["line"], r["raw"]) for r in imports.rejects] == [
        (14, "ragged"),
        (15, ",empty session"),
        (16, "z,"),
        (17, "q,\\xff"),
    ]
    reasons = [r["reason"] for r in imports.rejects]
    assert reasons[0] == "has 1 cells, and the header has 2"
    assert reasons[1] == "session_id: must not be empty"
    assert reasons[2].startswith("observation: nothing to observe")
    assert reasons[3].startswith("is not UTF-8")


def test_rejects_are_kept_once_over_repeated_imports(imports: Imports, small_blocks: None) -> None:
    data = "s,a\n" + table(1, 3) + "ragged\n" + table(4, 22) + "ragged again\n"
    with pytest.raises(Killed):
        imports(data, die_after=1)
    for _ in range(2):
        assert imports(data).rejected == 2
    assert [r["raw"] for r in imports.rejects] == ["ragged", "ragged again"]


def test_bytes_that_are_not_utf8_in_the_first_block_stop_everything(imports: Imports, small_blocks: None) -> None:
    with pytest.raises(BadInput, match=r"is not UTF-8 \(byte 13, line 4\)"):
        imports(b"s,a\nx,1\nx,2\nx\xe9,3\n")
    assert imports.total() == 0
    assert imports.sent == 0


def test_a_session_on_another_node_is_rejected_row_by_row(imports: Imports) -> None:
    imports("s,a\nold,1\n", node="home")
    summary = imports("s,a\nnew,1\nold,2\nnew,2\nold,3\n", node="away", file="other")
    assert (summary.appended, summary.rejected) == (2, 2)
    assert [(r["line"], r["reason"]) for r in imports.rejects] == [
        (3, "node_id: is 'away', and session 'old' belongs to node 'home' for life"),
        (5, "node_id: is 'away', and session 'old' belongs to node 'home' for life"),
    ]
    assert imports.strings("new") == ["1", "2"]


def test_a_learn_follows_each_session_in_the_order_of_their_last_rows(imports: Imports, rt: Runtime) -> None:
    summary = imports("s,a\nx,1\ny,1\nz,1\nx,2\n", learn=True, node="n", timestamp=None)
    assert summary.learns == 3
    assert imports.strings("x") == ["1", "2", "learn"]
    assert imports.strings("y") == ["1", "learn"]
    at = {s: int(str(imports.rt.redis.lindex(key, -1)).split("\n")[0][2:]) for s in "xyz" for key in _logs(rt, s)}
    assert at["y"] <= at["z"] <= at["x"]


def _logs(rt: Runtime, session: str) -> list[str]:
    return [str(key) for key in rt.redis.scan_iter(f"kt:*:log:{session}")]


def test_a_second_import_with_learn_learns_nothing_again(imports: Imports, rt: Runtime, small_blocks: None) -> None:
    data = "s,a\n" + table(1, 35)
    imports(data, learn=True)
    assert imports(data, learn=True).learns == 0
    forget_ids(rt)
    assert imports(data, learn=True).learns == 0
    assert imports.total() == 35 + 3


def test_learn_may_be_asked_for_later(imports: Imports, small_blocks: None) -> None:
    data = "s,a\n" + table(1, 35)
    imports(data)
    summary = imports(data, learn=True)
    assert (summary.appended, summary.learns) == (0, 3)


def test_a_file_that_has_grown_learns_only_where_rows_came(imports: Imports, rt: Runtime, small_blocks: None) -> None:
    imports("s,a\n" + table(1, 35), learn=True)
    forget_ids(rt)
    summary = imports("s,a\n" + table(1, 35) + "s1,more\nnew,1\n", learn=True)
    assert (summary.appended, summary.learns) == (2, 2)
    assert imports.strings("s1") == [*expected(1, 35), "learn", "more", "learn"]
    assert imports.strings("s0") == [*expected(0, 35), "learn"]


def test_an_import_that_dies_while_it_learns_learns_each_session_once(imports: Imports, small_blocks: None) -> None:
    data = "s,a\n" + table(1, 15, sessions=15)
    with pytest.raises(Killed):
        imports(data, learn=True, die_after=6)
    assert 15 < imports.total() < 30, "it died between two learns"
    imports(data, learn=True)
    assert imports.total() == 30
    assert imports.strings("s4") == ["v4", "learn"]


def test_a_session_without_an_accepted_row_is_not_learned(imports: Imports) -> None:
    imports("s,a\nold,1\n", node="home")
    summary = imports("s,a\nold,2\nbad,\ngood,1\n", node="away", learn=True, file="other")
    assert summary.learns == 1
    assert imports.strings("old") == ["1"]


def test_a_session_that_learned_itself_or_has_nothing_to_learn_gets_no_learn(imports: Imports) -> None:
    lines = [
        {"session_id": "learned", "observation": {"strings": ["a"]}},
        {"session_id": "learned", "event_type": "learn"},
        {"session_id": "cleared", "observation": {"strings": ["a"]}},
        {"session_id": "cleared", "event_type": "clear_stm"},
        {"session_id": "felt", "observation": {"emotives": {"m": 1}}},
        {"session_id": "again", "observation": {"strings": ["a"]}},
        {"session_id": "again", "event_type": "learn"},
        {"session_id": "again", "observation": {"strings": ["b"]}},
        {"session_id": "again", "observation": {"emotives": {"m": 1}}},
    ]
    summary = imports("\n".join(map(json.dumps, lines)), form="jsonl", complete=True, learn=True)
    assert (summary.appended, summary.learns) == (9, 1)
    assert imports.strings("again") == ["a", "learn", "b", "", "learn"]


def test_json_lines_may_be_standard_events_with_their_own_ids(imports: Imports) -> None:
    event = {"event_id": "e1", "session_id": "x", "observation": {"strings": ["a"], "emotives": {"m": 1}}}
    lines = [event, {"event_type": "learn", "session_id": "x"}, {**event, "session_id": "y"}, event]
    summary = imports("\n".join(map(json.dumps, lines)), form="jsonl", complete=True)
    assert (summary.appended, summary.duplicates) == (3, 1)
    assert imports.log("x")[0]["event_id"] == "e1"
    assert imports.strings("x") == ["a", "learn"]


def test_an_id_that_is_taken_by_another_body_is_a_reject(imports: Imports) -> None:
    event = {"event_id": "e1", "session_id": "x", "observation": {"strings": ["a"]}}
    other = {**event, "observation": {"strings": ["b"]}}
    summary = imports("\n".join(map(json.dumps, [event, other])), form="jsonl", complete=True)
    assert (summary.appended, summary.rejected) == (1, 1)
    assert "is known in session 'x' with another body" in imports.rejects[0]["reason"]


def test_what_kato_would_choke_on_is_a_reject_that_names_the_field(imports: Imports) -> None:
    lines = [
        '{"session_id": "x", "observation": {"strings": ["a"], "emotives": {"m": NaN}}}',
        '{"session_id": "x", "observation": {"vectors": [[1, 2], [3]]}}',
        '{"session_id": "x", "observation": {"strings": ["\\ud800"]}}',
        '{"session_id": "x", "node_id": "it\'s", "observation": {"strings": ["a"]}}',
        '{"session_id": "x", "schema_version": 99, "observation": {"strings": ["a"]}}',
    ]
    assert imports("\n".join(lines), form="jsonl", complete=True).rejected == 5
    fields = [r["reason"].split(":")[0] for r in imports.rejects]
    assert fields == [
        "observation.emotives.m",
        "observation.vectors[1]",
        "observation.strings[0]",
        "node_id",
        "schema_version",
    ]


def test_an_empty_csv_is_refused_and_an_empty_jsonl_has_no_rows(imports: Imports) -> None:
    with pytest.raises(BadInput, match="is empty; a CSV file begins with its column names"):
        imports("")
    assert imports("", form="jsonl").rows == 0
    assert imports("s,a\n").rows == 0


def test_a_store_that_fails_midway_says_so_and_is_gone_on_from(imports: Imports, small_blocks: None) -> None:
    gone = StoreUnavailable("Redis does not answer: gone")
    with pytest.raises(StoreUnavailable):
        imports("s,a\n" + table(1, 35), die_after=4, of=gone)
    imports("s,a\n" + table(1, 35))
    assert imports.total() == 35


def test_the_record_of_a_source_is_all_that_an_import_leaves_beside_the_log(imports: Imports, rt: Runtime) -> None:
    imports("s,a\n" + table(1, 30))
    kinds = sorted(str(key).split(":")[2] for key in rt.redis.scan_iter("kt:{import}:*"))
    assert kinds == ["begins", "rows", "source"]
    assert not list(rt.redis.scan_iter("kt:*:mark:*"))


def test_a_record_takes_a_few_bytes_for_each_row(imports: Imports, rt: Runtime) -> None:
    imports("s,a\n" + table(1, 20_000, sessions=500))
    used = sum(int(rt.redis.memory_usage(key, samples=0) or 0) for key in rt.redis.scan_iter("kt:{import}:*"))
    assert used / 20_000 < 14
