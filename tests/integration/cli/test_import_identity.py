"""Each row once: whatever is done to a file between two imports of it, and whatever other files hold."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from collections import Counter
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.events import parse_event
from kato_tasks.domain.log_entry import entry_of
from kato_tasks.importer import Changed, Columns, Summary, Undecided
from kato_tasks.importer import intake as intake_module
from tests.integration.cli.running import Imports, Killed

HEAD = "s,a,t\n"
BAD = "h3,broken\n"


def lines(first: int, last: int) -> list[str]:
    return [f"h{i % 5},v{i},2025-11-13T10:{i // 60:02d}:{i % 60:02d}Z\n" for i in range(first, last + 1)]


def a_file(rows: list[str], head: str = HEAD) -> str:
    return head + "".join(rows)


def forget_ids(rt: Runtime) -> None:
    """As if the window in which single ids are remembered were over."""
    for key in rt.redis.scan_iter("kt:*:ids:*"):
        rt.redis.delete(key)


@pytest.fixture
def hundred(imports: Imports, rt: Runtime) -> list[str]:
    """A file of 100 rows, the third of which is no event, was imported long ago."""
    rows = lines(1, 100)
    rows[2] = BAD
    summary = imports(a_file(rows), timestamp="t")
    assert (summary.appended, summary.rejected) == (99, 1)
    forget_ids(rt)
    return rows


def test_a_rejected_row_that_was_mended_is_all_that_is_added(imports: Imports, hundred: list[str]) -> None:
    hundred[2] = lines(3, 3)[0]
    summary = imports(a_file(hundred), timestamp="t")
    assert (summary.appended, summary.duplicates, summary.rejected) == (1, 99, 0)


def test_lines_put_on_top_or_between_add_themselves_alone(imports: Imports, hundred: list[str]) -> None:
    assert imports(a_file(["\n", *hundred]), timestamp="t").appended == 0
    more = ["new,1,\n", *hundred[:50], "new,2,\n", *hundred[50:]]
    assert imports(a_file(more), timestamp="t").appended == 2


def test_a_file_that_was_sorted_adds_nothing(imports: Imports, hundred: list[str]) -> None:
    summary = imports(a_file(sorted(hundred, reverse=True)), timestamp="t")
    assert (summary.appended, summary.duplicates) == (0, 99)


def test_a_column_that_came_into_the_file_adds_nothing(imports: Imports, hundred: list[str]) -> None:
    wide = [line.replace(",", f",x{i},", 1) for i, line in enumerate(hundred)]
    assert imports(a_file(wide, "s,more,a,t\n"), timestamp="t").appended == 0


def test_a_column_that_is_mapped_as_metadata_later_adds_nothing(imports: Imports, hundred: list[str]) -> None:
    summary = imports(a_file([*hundred, *lines(101, 101)]), timestamp="t", metadata=("t",))
    assert (summary.appended, summary.duplicates, summary.rejected) == (1, 99, 1)
    assert imports(a_file([*hundred, *lines(101, 101)]), timestamp="t", metadata=("t",)).appended == 0


def test_a_metadata_column_added_while_the_ids_are_remembered_adds_nothing(imports: Imports) -> None:
    """Falls when an import that died, and left rows that it did not write down, is gone on from with metadata."""
    with pytest.raises(Killed):
        imports(a_file(lines(1, 9)), timestamp="t", die_after=0)
    imports(a_file(lines(1, 9)), timestamp="t")
    for key in list(imports.rt.redis.scan_iter("kt:{import}:rows:*")):
        imports.rt.redis.delete(key)
    summary = imports(a_file(lines(1, 9)), timestamp="t", metadata=("t",))
    assert (summary.appended, summary.duplicates, summary.rejected) == (0, 9, 0)


def test_line_ends_and_gzip_make_no_other_file(imports: Imports) -> None:
    data = a_file(lines(1, 9))
    imports(data, file="log.csv", timestamp="t")
    assert imports(data.replace("\n", "\r\n"), file="log.csv", timestamp="t").appended == 0
    assert imports(gzip.compress(data.encode()), file="log.csv.gz", timestamp="t").appended == 0


def test_two_files_with_the_same_first_rows_and_no_times_are_both_imported_whole(imports: Imports) -> None:
    """As of TRIAL: the second lost its first row to the first."""
    assert imports("s,a\nu9,home\nu9,home\nu9,search\n", file="monday.csv").appended == 3
    summary = imports("s,a\nu9,home\nu9,search\n", file="tuesday.csv")
    assert (summary.appended, summary.duplicates) == (2, 0)
    assert imports.strings("u9") == ["home", "home", "search", "home", "search"]


def test_files_of_one_name_in_two_folders_are_two_sources(imports: Imports) -> None:
    for folder in ("jan", "feb"):
        (imports.directory / folder).mkdir()
    assert imports("s,a\nx,1\nx,2\n", file="jan/log.csv").appended == 2
    assert imports("s,a\nx,2\nx,1\n", file="feb/log.csv").appended == 2


def test_a_file_with_the_rows_of_another_one_is_asked_about(imports: Imports) -> None:
    data = a_file(lines(1, 9))
    imports(data, file="old.csv", timestamp="t")
    with pytest.raises(Undecided, match=r"new\.csv has the same rows as '.*/old\.csv'.* --source .*old\.csv") as asked:
        imports(data, file="new.csv", timestamp="t")
    assert str(asked.value).endswith("nothing was appended")
    with pytest.raises(Undecided, match=r"begins with all 9 rows of"):
        imports(a_file(lines(1, 12)), file="new.csv", timestamp="t")
    assert imports.total() == 9
    old = str((imports.directory / "old.csv").resolve())
    assert imports(a_file(lines(1, 12)), file="new.csv", name=old, timestamp="t").appended == 3
    assert imports(data, file="new.csv", name="other", timestamp="t").appended == 9


def test_a_row_that_was_imported_and_then_changed_is_asked_about(imports: Imports, hundred: list[str]) -> None:
    hundred[5] = hundred[5].replace("v6", "v-six")
    with pytest.raises(Undecided) as asked:
        imports(a_file(hundred), timestamp="t")
    said = str(asked.value)
    assert "line 7 of" in said
    assert 'was imported as {"strings": ["v6"]} and is now \'h1,v-six,' in said
    assert "--changed skip" in said
    assert "--changed add" in said
    assert "--source NAME" in said
    assert imports.total() == 99
    assert imports.sent == 0


def test_changed_skip_takes_changed_rows_for_those_that_were_imported(imports: Imports, hundred: list[str]) -> None:
    hundred[5] = hundred[5].replace("v6", "v-six")
    grown = a_file([*hundred, *lines(101, 102)])
    summary = imports(grown, timestamp="t", changed="skip")
    assert (summary.appended, summary.skipped, summary.duplicates) == (2, 1, 98)
    assert "v-six" not in imports.strings("h1")
    summary = imports(grown, timestamp="t")
    assert (summary.appended, summary.duplicates) == (0, 101), "it is not asked about again"


def test_changed_add_appends_changed_rows_as_other_events(imports: Imports, hundred: list[str]) -> None:
    hundred[5] = hundred[5].replace("v6", "v-six")
    assert imports(a_file(hundred), timestamp="t", changed="add").appended == 1
    assert imports.strings("h1").count("v6") == imports.strings("h1").count("v-six") == 1
    assert imports(a_file(hundred), timestamp="t").appended == 0, "it is not asked about again"


@pytest.mark.parametrize("changed", ["add", "skip"])
def test_fewer_rows_than_before_are_asked_about(imports: Imports, hundred: list[str], changed: Changed) -> None:
    del hundred[10:15]
    with pytest.raises(Undecided, match="5 rows of 99 are gone"):
        imports(a_file(hundred), timestamp="t")
    more = a_file([*hundred, *lines(101, 101)])
    assert imports(more, timestamp="t", changed=changed).appended == 1
    assert imports(more, timestamp="t").appended == 0


def test_another_file_of_the_same_name_is_asked_about(imports: Imports, hundred: list[str]) -> None:
    other = a_file(lines(200, 220))
    with pytest.raises(Undecided, match=r"none of the 99 rows .* --source NAME"):
        imports(other, timestamp="t")
    assert imports(other, timestamp="t", name="the second").appended == 21


def test_other_metadata_of_an_imported_row_is_asked_about(imports: Imports) -> None:
    imports("s,a,m\nx,1,red\nx,2,red\n", metadata=("m",))
    other = "s,a,m\nx,1,red\nx,2,blue\n"
    with pytest.raises(Undecided, match=r"line 3 of .* was imported with other metadata.*--changed skip"):
        imports(other, metadata=("m",))
    assert imports(other, metadata=("m",), changed="skip").skipped == 1
    assert imports(other, metadata=("m",)).appended == 0
    again = other.replace("blue", "green")
    assert imports(again, metadata=("m",), changed="add").appended == 1
    assert imports(again, metadata=("m",)).appended == 0
    assert imports.strings("x") == ["1", "2", "2"]


def test_a_last_line_that_went_on_after_last_line_is_asked_about(imports: Imports) -> None:
    """As of HOLES: both `sea` and `search` became events without a word."""
    imports("s,a\nu,home\nu,sea", complete=True)
    with pytest.raises(Undecided, match=r"was imported as .*sea.* and is now 'u,search'"):
        imports("s,a\nu,home\nu,search\n")
    assert imports("s,a\nu,home\nu,sea").appended == 0, "without its line end it is what it was"


def test_a_row_under_way_when_an_import_died_is_asked_about_when_it_changed(
    imports: Imports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Falls when rows are not written down before they are appended."""
    monkeypatch.setattr(intake_module, "SEND_ENTRIES", 3)
    rows = lines(1, 9)
    record = "kato_tasks.importer.record.SourceRecord.keep"
    with monkeypatch.context() as patched:
        patched.setattr(record, lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            imports(a_file(rows), timestamp="t")
    assert imports.total() == 3
    with pytest.raises(Undecided, match="1 row of 3 is gone"):
        imports(a_file([*lines(50, 50), *rows[1:]]), timestamp="t")
    assert imports(a_file(sorted(rows, reverse=True)), timestamp="t").appended == 6
    assert imports.total() == 9


def test_rows_with_ids_are_known_by_them_wherever_they_stand(imports: Imports, rt: Runtime) -> None:
    assert imports("no,s,a\n1,x,home\n2,x,home\n1,y,home\n", event_id="no").appended == 3
    forget_ids(rt)
    summary = imports("no,s,a\n3,x,new\n2,x,home\n", event_id="no")
    assert (summary.appended, summary.duplicates) == (1, 1)
    assert [event["event_id"] for event in imports.log("x")] == ["1", "2", "3"]


def test_an_id_with_another_body_or_none_is_a_rejected_row(imports: Imports, rt: Runtime) -> None:
    imports("no,s,a\n1,x,home\n", event_id="no")
    for _ in range(2):
        summary = imports("no,s,a\n1,x,search\n,x,home\n", event_id="no")
        assert (summary.appended, summary.rejected) == (0, 2)
        forget_ids(rt)
    reasons = [reject["reason"] for reject in imports.rejects]
    assert reasons[0].startswith("event_id '1' is known in session 'x' with another body")
    assert reasons[1].startswith("has no id in column 'no'")


# What the version before left.


def imported_before(
    rt: Runtime, data: str, *, checkpoint: bool, learned: bool = False, rows: int | None = None
) -> None:
    """A file, imported as the version before did it: ids by a chain of hashes, a checkpoint for the block."""
    chain = sha256(Columns(session="s", strings=("a",)).seed("csv")).digest()
    chains = []
    entries = []
    for number, line in enumerate(data.splitlines()):
        chain = sha256(chain + line.encode()).digest()
        chains.append(chain.hex())
        if number and (rows is None or number <= rows):
            session, text = line.split(",")
            event = {"session_id": session, "observation": {"strings": [text]}}
            entries.append(entry_of(parse_event(event), event_id=chain[:12].hex()))
    rt.mailbox.append(entries)
    if checkpoint:
        known = {"lines": len(chains) - 1, "rows": len(chains) - 1, "rejected": 0, "learned": learned}
        rt.redis.hset(f"kt:{{import}}:{chains[1]}", chains[-1], json.dumps(known))


OLD = "s,a\nx,1\nx,1\ny,2\n"


@pytest.mark.parametrize("days_later", [False, True])
def test_a_file_that_the_version_before_imported_adds_nothing(imports: Imports, rt: Runtime, days_later: bool) -> None:
    imported_before(rt, OLD, checkpoint=True)
    if days_later:
        forget_ids(rt)
    summary = imports(OLD)
    assert (summary.appended, summary.duplicates) == (0, 3)
    forget_ids(rt)
    summary = imports("s,a\ny,2\nx,1\nz,new\nx,1\n")
    assert (summary.appended, summary.duplicates) == (1, 3), "from then on its rows are known as others are"


def test_a_file_that_has_grown_since_the_version_before_adds_its_new_rows(imports: Imports, rt: Runtime) -> None:
    imported_before(rt, OLD, checkpoint=True)
    forget_ids(rt)
    summary = imports(OLD + "x,3\n")
    assert (summary.appended, summary.duplicates) == (1, 3)


@pytest.mark.parametrize("rows", [1, 2])
def test_an_import_that_the_version_before_did_not_end_is_gone_on_with(
    imports: Imports, rt: Runtime, rows: int
) -> None:
    imported_before(rt, OLD, checkpoint=False, rows=rows)
    with pytest.raises(Killed):
        imports(OLD, die_after=0)
    summary = imports(OLD)
    assert (summary.appended, summary.duplicates) == (3 - rows, rows)
    assert imports.total() == 3


def test_a_file_that_was_mended_since_the_version_before_is_asked_about(imports: Imports, rt: Runtime) -> None:
    imported_before(rt, OLD, checkpoint=True)
    forget_ids(rt)
    with pytest.raises(Undecided, match="an earlier version of kato_tasks imported, and differs from it later"):
        imports(OLD.replace("y,2", "y,3"))
    assert imports.total() == 3
    assert imports(OLD.replace("y,2", "y,3"), name="another").appended == 3


def test_another_file_with_the_lines_of_one_from_the_version_before_is_another(imports: Imports, rt: Runtime) -> None:
    imported_before(rt, OLD, checkpoint=True)
    imports(OLD, name="one")
    assert imports(OLD, name="two").appended == 3


def test_what_the_version_before_learned_is_not_learned_again(imports: Imports, rt: Runtime) -> None:
    imported_before(rt, OLD, checkpoint=True, learned=True)
    forget_ids(rt)
    summary = imports(OLD + "x,3\n", learn=True)
    assert (summary.learns, summary.relearned) == (1, True)
    assert imports.strings("x")[-2:] == ["3", "learn"]


# Any file, any edits.


def ids_and_texts(imports: Imports, sessions: set[str]) -> Counter[tuple[str, str]]:
    return Counter(
        (session, text)
        for session in sessions
        if imports.rt.sessions.node_of(session) is not None
        for text in imports.strings(session)
    )


EXAMPLES = itertools.count()
ROW = st.tuples(st.sampled_from(["p", "q"]), st.sampled_from(["1", "2", "3"]), st.booleans())
EDITS = st.lists(
    st.sampled_from(["mend", "insert", "grow", "sort", "double", "widen", "metadata", "die"]), min_size=1, max_size=4
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, max_size=12), edits=EDITS, seed=st.integers(0, 10_000))
def test_after_any_edits_each_row_of_the_file_is_in_the_log_once(
    imports: Imports,
    rt: Runtime,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[tuple[str, str, bool]],
    edits: list[str],
    seed: int,
) -> None:
    """Rows are (session, text, whether the row is broken). Few different ones, so that many are equal."""
    monkeypatch.setattr(intake_module, "SEND_ENTRIES", 3)
    number = next(EXAMPLES)
    sessions = {f"{name}{number}" for name in "pq"}
    chance = random.Random(seed)
    wide = False
    metadata: tuple[str, ...] = ()

    def text() -> str:
        made = ["s,w,a\n" if wide else "s,a\n"]
        for session, what, broken in rows:
            cells = [f"{session}{number}", *(["w"] if wide else []), what]
            made.append(",".join(cells) + (",,,too many\n" if broken else "\n"))
        return "".join(made)

    def bring(**more: Any) -> Summary:
        return imports(text(), metadata=metadata, file=f"file {number}", **more)

    bring()
    for edit in edits:
        place = chance.randint(0, len(rows))
        if edit == "mend":
            rows = [(session, what, broken and i != place) for i, (session, what, broken) in enumerate(rows)]
        elif edit == "insert":
            rows = [*rows[:place], ("p", chance.choice("1234"), chance.random() < 0.2), *rows[place:]]
        elif edit == "grow":
            rows = [*rows, ("q", chance.choice("1234"), False)]
        elif edit == "sort":
            rows = sorted(rows, reverse=chance.random() < 0.5)
        elif edit == "double":
            rows = [*rows[: place + 1], *rows[place:]]
        elif edit == "widen":
            wide = True
        elif edit == "metadata":
            wide, metadata = True, ("w",)
        else:
            rows = [*rows, ("p", "9", False), ("q", "9", False)]
            with pytest.raises(Killed):
                bring(die_after=0)
        if chance.random() < 0.3:
            forget_ids(rt)
        bring()
        good = [(f"{session}{number}", what) for session, what, broken in rows if not broken]
        assert ids_and_texts(imports, sessions) == Counter(good)
        assert bring().appended == 0
    if any(not broken for _, _, broken in rows):
        before = ids_and_texts(imports, sessions)
        gone = [row for row in rows if not row[2]]
        rows.remove(chance.choice(gone))
        with pytest.raises(Undecided):
            bring()
        bring(changed="skip")
        assert ids_and_texts(imports, sessions) == before
