"""Both sides of a script agree on its slots: what the Lua file reads, its card lists, and Python fills."""

from __future__ import annotations

import inspect
import re
import runpy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest

from kato_tasks import ports
from kato_tasks.adapters.redis import decoding
from kato_tasks.adapters.redis.calls import ScriptCall
from kato_tasks.adapters.redis.cards import PREFIX, Card, Rows, SlotError, read_card
from kato_tasks.adapters.redis.encoding import Each, Encode, compile_encoder, each
from kato_tasks.adapters.redis.operations import (
    Retention,
    appending,
    archiving,
    building,
    encode,
    forgetting,
    generations,
    lanes,
    listening,
    looking,
    replaying,
    waiting_tasks,
)
from kato_tasks.adapters.redis.scripts import NAMES, script, source_of
from kato_tasks.domain.kato_session import Binding, Intent
from kato_tasks.domain.log_entry import Entry
from tests.unit.adapters.lua_names import OF_REDIS, code_of, made_names, read_names

SHARED = set(re.findall(r"^local (?:function )?(\w+)", source_of("_lib"), re.MULTILINE))
"""What _lib.lua gives every script."""
KEEP = Retention(dedupe_ms=1, source_mark_ms=2, result_ms=30, prediction_ms=20, told_ms=10, told_bytes=5, predicts=6)


def disagreements(source: str, card: Card) -> list[str]:
    """What a Lua file reads and its card does not list, and the other way round, as sentences."""
    file = f"{card.script}.lua"
    single = {slot.name for slot in card.arguments} | ({card.key} - {PREFIX})
    in_rows = {name for rows in card.rows for name in rows.in_lua()}
    # A row of one value is that value, and goes on by one.
    needed = {name for rows in card.rows if len(rows.slots) > 1 for name in rows.in_lua()}
    needed |= {f"{rows.name}_{place}" for rows in card.rows for place in ("first", "last")}
    read = read_names(source)
    strange = read - single - in_rows - made_names(source) - SHARED - OF_REDIS
    found = [f"{file} reads `{name}`, which is not on its card" for name in sorted(strange)]
    unread = (single | needed) - read
    return found + [f"{file} lists `{name}` on its card and does not read it" for name in sorted(unread)]


# ------------------------------------------------------------------------------------------------ the Lua side


@pytest.mark.parametrize("name", NAMES)
def test_a_script_reads_the_slots_of_its_card_and_no_others(name: str) -> None:
    assert disagreements(source_of(name), script(name).card) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_script_counts_nothing(name: str) -> None:
    """Its arguments have names: no number stands in ARGV, and nothing asks how many there are."""
    code = code_of(source_of(name))
    assert re.findall(r"(?:ARGV|KEYS)\s*\[\s*\d|#\s*(?:ARGV|KEYS)", code) == []
    assert "KEYS" not in code


@pytest.mark.parametrize("name", NAMES)
def test_no_slot_hides_what_all_scripts_share(name: str) -> None:
    card = script(name).card
    listed = {slot.name for slot in card.arguments} | {name for rows in card.rows for name in rows.in_lua()}
    assert listed & (SHARED | OF_REDIS) == set()


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_what_its_script_does_and_what_it_returns(name: str) -> None:
    head = source_of(name).split("\n")
    assert head[0].startswith(f"-- {name}: ")
    assert any(line.startswith("--") and "Returns " in line for line in head)


def without(card: Card) -> Iterator[tuple[str, Card]]:
    """The card with each of its slots taken off it, and which one."""
    for slot in card.arguments:
        yield slot.name, replace(card, arguments=tuple(other for other in card.arguments if other != slot))
    for rows in card.rows:
        for slot in rows.slots:
            left: tuple[Rows, ...] = tuple(
                replace(one, slots=tuple(other for other in one.slots if other != slot)) if one == rows else one
                for one in card.rows
            )
            yield slot.name, replace(card, rows=left)


@pytest.mark.parametrize("name", NAMES)
def test_a_slot_that_is_taken_off_a_card_is_missed_by_its_script(name: str) -> None:
    source = source_of(name)
    for slot, less in without(script(name).card):
        if all(rows.slots for rows in less.rows):
            sentence = disagreements(source, less)[0]
            assert re.fullmatch(rf"{name}\.lua reads `(\w+_)?{slot}`, which is not on its card", sentence)


@pytest.mark.parametrize("name", NAMES)
def test_a_slot_that_a_script_no_longer_reads_is_named(name: str) -> None:
    card = script(name).card
    more = replace(card, arguments=(*card.arguments, replace(SLOT, name="one_more")))
    assert disagreements(source_of(name), more) == [f"{name}.lua lists `one_more` on its card and does not read it"]


SLOT = script("certain").card.arguments[0]


# --------------------------------------------------------------------------------------------- the Python side


@dataclass(frozen=True)
class Declared:
    """How a table says that an operation calls a script."""

    card: Card
    operation: type
    sources: Mapping[str, Any]


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> list[Declared]:
    """What the tables of operations declare, table by table."""
    found: list[Declared] = []

    def note(card: Card, operation: type, retention: type, key: Any, decode: Any, sources: Mapping[str, Any]) -> Encode:
        found.append(Declared(card, operation, dict(sources)))
        return compile_encoder(card, operation, retention, key, decode, sources)

    monkeypatch.setattr(building, "compile_encoder", note)
    for table in (appending, archiving, generations, lanes, listening, waiting_tasks, looking, replaying, forgetting):
        runpy.run_path(str(table.__file__))
    return found


def compiled(one: Declared, sources: Mapping[str, Any], card: Card | None = None) -> None:
    # The key is not what these tests are about, and not every operation has a field of that name.
    compile_encoder(card or one.card, one.operation, Retention, lambda op, keep: "", lambda op, raw: raw, sources)


def test_every_script_is_called_by_an_operation(declared: list[Declared]) -> None:
    assert {one.card.script for one in declared} == set(NAMES)


def test_a_slot_that_python_no_longer_fills_is_an_error_when_the_table_is_read(declared: list[Declared]) -> None:
    tried = 0
    for one in declared:
        for slot in one.sources:
            less = {name: source for name, source in one.sources.items() if name != slot}
            with pytest.raises(SlotError, match=rf"^{one.card.script}\.lua has (the slot `{slot}`|rows of {slot})"):
                compiled(one, less)
            tried += 1
    assert tried > 60


def test_a_slot_that_only_python_knows_is_an_error_when_the_table_is_read(declared: list[Declared]) -> None:
    for one in declared:
        with pytest.raises(SlotError, match=rf"^{one.operation.__name__} fills `more`.*{one.card.script}\.lua"):
            compiled(one, {**one.sources, "more": lambda op, keep: ""})


def test_a_slot_that_is_taken_off_a_card_is_missed_by_what_fills_it(declared: list[Declared]) -> None:
    """By the table where it names the slot; the script misses the others (above)."""
    for one in declared:
        in_rows = {slot.name for rows in one.card.rows for slot in rows.slots if len(rows.slots) > 1}
        for slot, less in without(one.card):
            if slot in one.sources or slot in in_rows:
                with pytest.raises(SlotError, match=rf"`{slot}`.*{one.card.script}\.lua"):
                    compiled(one, one.sources, less)


def test_every_field_of_an_operation_reaches_its_script(declared: list[Declared]) -> None:
    """Or what fills a slot reads it. `run` is for the store: which run of the server may be asked."""
    for one in declared:
        # Of the last four the key is made.
        read = {slot.name for slot in one.card.arguments} | {"lease", "run", "partition", "of", "shard", "name"}
        for source in one.sources.values():
            inner = source.source if isinstance(source, Each) else source
            if isinstance(inner, str):
                read.add(inner.split(".")[0])
            else:
                read |= set(inner.__code__.co_names)
        # The key of the tables' plain writes is made of the lane.
        unread = {field.name for field in fields(one.operation)} - read - {"lane"}
        assert unread == set(), f"{one.operation.__name__} → {one.card.script}.lua"


# ------------------------------------------------------------------------------------- values in their places


def sent(operation: ports.Effect[Any]) -> tuple[dict[str, Any], dict[str, list[tuple[Any, ...]]]]:
    """What is sent for an operation, by the names of the card as the script finds them."""
    call = encode(operation, KEEP)
    assert isinstance(call, ScriptCall)
    card, args = script(call.script).card, call.args
    at = len(card.arguments)
    single = {slot.name: value for slot, value in zip(card.arguments, args, strict=False)}
    counts = args[at : at + len(card.rows)] if card.counted else []
    at += len(counts)
    rows = {}
    for number, kind in enumerate(card.rows):
        step = len(kind.slots)
        end = at + step * int(counts[number]) if card.counted else len(args)
        rows[kind.name] = [tuple(args[i : i + step]) for i in range(at, end, step)]
        at = end
    assert at == len(args)
    return single, rows


HELD = ports.Lease("lane", "token", 4000, ports.Batch(7, 70))
BINDING = Binding("http://kato", "k", "n", 1, 1, 1, 9, run="run")


def test_an_appended_event_is_sent_by_its_names() -> None:
    entry = Entry("session", "node", "id", "o", True, "digest", "text", also="id p1")
    rows_of = [("lane", "node", entry, 3), ("other", "node", entry, 4)]
    single, rows = sent(ports.Append(5, rows_of, source="file", expected=8, sink="kafka:out"))
    assert single == {
        "dedupe_ms": 1,
        "source": "file",
        "source_mark_ms": 2,
        "partition": 5,
        "most_predicts": 6,
        "expected": 8,
        "sink": "kafka:out",
    }
    names = " ".join(slot.name for slot in script("append").card.rows[0].slots)
    assert names == "lane session node event_id digest kind entry offset also"
    assert rows["events"] == [
        ("lane", "session", "node", "id", "digest", "o", "text", 3, "id p1"),
        ("other", "session", "node", "id", "digest", "o", "text", 4, "id p1"),
    ]


def test_a_commit_is_sent_by_its_names() -> None:
    commit = ports.Commit(
        HELD,
        "s",
        "call",
        3,
        5,
        BINDING,
        stm_start=4,
        results=[("e1", "r1"), ("e2", "r2")],
        symbols=[(1, "[]")],
        dead=[("d", "{}")],
        predict_id="p",
        learned=("PTRN", 8),
        park_reason="why",
        go_on=False,
        certain="run",
        sink="kafka:out",
        prediction="{}",
        borrowed=True,
    )
    single, rows = sent(commit)
    assert single == {
        "lane": "lane",
        "token": "token",
        "lease_ms": 4000,
        "session": "s",
        "call_id": "call",
        "cursor": 3,
        "cursor_to": 5,
        "binding": BINDING.dump(),
        "stm_start": 4,
        "mode": "release",
        "max_events": 7,
        "max_bytes": 70,
        "result_ms": 20,
        "predict_id": "p",
        "pattern": "PTRN",
        "frequency": 8,
        "certain_run": "run",
        "parked_why": "why",
        "is_learn": 1,
        "borrowed": 1,
        "archiving": "",
        "sink": "kafka:out",
        "prediction": "{}",
    }
    assert rows == {"results": [("e1", "r1"), ("e2", "r2")], "symbols": [(1, "[]")], "letters": [("d", "{}")]}


def test_a_commit_without_anything_leaves_everything_as_it_is() -> None:
    single, rows = sent(ports.Commit(HELD, "s", "call", 3, 3, None, keep_binding=True))
    left = {name: single[name] for name in ("binding", "stm_start", "mode", "result_ms", "predict_id", "pattern")}
    assert left == {"binding": "-", "stm_start": "-", "mode": "next", "result_ms": 30, "predict_id": "", "pattern": ""}
    assert rows == {"results": [], "symbols": [], "letters": []}


def test_an_intent_with_a_lender_names_the_run_in_which_it_took_over() -> None:
    intent = Intent("call", "learn", 1, 2, pattern="PTRN")
    single, _ = sent(ports.WriteIntent(HELD, "s", 0, intent, BINDING, lender="other", lent="[]"))
    names = ("call_id", "intent", "pattern", "lender", "lent", "lent_in")
    assert [single[name] for name in names] == ["call", intent.dump(), "PTRN", "other", "[]", "run"]


def test_a_plain_write_is_a_command_a_key_and_the_words_behind_it() -> None:
    call = encode(ports.Count("lane", "rebuilt", 2), KEEP)
    assert isinstance(call, ScriptCall)
    assert call.key.endswith(":stats")
    assert sent(ports.Count("lane", "rebuilt", 2)) == ({"command": "HINCRBY"}, {"words": [("rebuilt",), (2,)]})


@pytest.mark.parametrize(
    ("function", "decoder"), [("piece", decoding.readable_work), ("next_work", decoding.unreadable_work)]
)
def test_a_piece_of_work_is_taken_apart_by_the_names_by_which_the_script_made_it(
    function: str, decoder: Callable[..., ports.Work]
) -> None:
    body = source_of("_lib").split(f"local function {function}(")[1].split("\nend\n")[0]
    (returned,) = re.findall(r"return \{([^}]+)\}", body)
    assert re.findall(r"[^\s,]+", returned) == list(inspect.signature(decoder).parameters)


# --------------------------------------------------------------------------------------------- the card itself

CARD = """-- one: what it does,
-- in two lines.
-- KEYS:
--   place       prose, with commas
-- ARGV:
--   first_one, ms: number    prose
--               goes on
-- each of results:
--   id, text
-- each of letters:
--   id, letter
-- Returns nothing.
local x = 1
"""


def test_a_card_gives_its_slots_their_names_in_lua() -> None:
    assert read_card("one", CARD).prologue() == (
        "local place, first_one, ms = KEYS[1], ARGV[1], tonumber(ARGV[2]); "
        "local results_first, results_last, results_step, results_id, results_text = 5, 5 + 2 * ARGV[3] - 1, 2, 0, 1; "
        "local letters_first, letters_last, letters_step, letters_id, letters_letter = "
        "results_last + 1, results_last + 1 + 2 * ARGV[4] - 1, 2, 0, 1; \n"
    )


@pytest.mark.parametrize(
    ("line", "instead", "sentence"),
    [
        ("--   first_one, ms: number    prose", "--   first one", "one.lua: this line of its card names no slots"),
        ("--   first_one, ms: number    prose", "--   ms, ms", "one.lua: its card names `ms` twice"),
        ("--   id, letter", "--   id, step", "one.lua: a row of letters cannot have the slot `step`"),
        ("--   id, letter\n", "", "one.lua: its card says nothing of what is sent for each of letters"),
    ],
)
def test_a_card_that_is_written_otherwise_is_refused(line: str, instead: str, sentence: str) -> None:
    with pytest.raises(SlotError, match=re.escape(sentence)):
        read_card("one", CARD.replace(line, instead))


@dataclass(frozen=True)
class Made:
    """An operation of these tests."""

    first_one: str
    ms: int | None
    lease: ports.Lease
    results: tuple[tuple[str, str], ...]
    letters: tuple[tuple[str, str, str], ...]


@pytest.mark.parametrize(
    ("sources", "sentence"),
    [
        ({}, "one.lua has the slot `ms`, which Made cannot fill with `ms`: it is neither text nor a whole number"),
        ({"ms": "lease.ms"}, "one.lua has the slot `ms`, which Made does not fill: Lease has no field `ms`"),
        ({"ms": "keep.ms"}, "one.lua has the slot `ms`, which Made does not fill: Retention has no field `ms`"),
        ({"ms": "lease.lease_ms"}, "one.lua has rows of results, which Made does not fill"),
        (
            {"ms": "lease.lease_ms", "results": each("results", "id")},
            "one.lua has the slot `text` for each of results, which Made does not fill",
        ),
        (
            {"ms": "lease.lease_ms", "results": each("results", "id text"), "letters": each("letters", "id letter")},
            "Made.letters has 3 values in a row, but 2 names for each of letters of one.lua",
        ),
    ],
)
def test_what_cannot_be_sent_is_a_sentence_that_names_script_and_slot(sources: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SlotError, match=re.escape(sentence)):
        compile_encoder(read_card("one", CARD), Made, Retention, "first_one", lambda op, raw: raw, sources)
