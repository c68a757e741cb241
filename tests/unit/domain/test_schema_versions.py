"""Events of every schema version are read, from the door to history, and KATO is sent what it was always sent."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from kato_tasks.domain import upcasters
from kato_tasks.domain.events import Event, parse_event
from kato_tasks.domain.log_entry import Logged, entry_of
from kato_tasks.errors import InvalidEvent, UnreadableRow
from tests.unit.domain.stored_samples import NEEDED, SAMPLES, Json, Sample, faults, samples_of

VERSIONS = range(1, upcasters.SCHEMA_VERSION + 1)
ALL = [sample for version in VERSIONS for sample in samples_of(version)]
V1 = samples_of(1)


# ------------------------------------------------------------------------- the stored samples


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_has_its_samples(version: int) -> None:
    found = {sample.name: sample for sample in samples_of(version)}
    assert found.keys() >= set(NEEDED), f"add what is missing to {SAMPLES / f'v{version}'}"
    assert all(sample.entries for sample in found.values())
    for sample in found.values():
        assert sample.event.get("schema_version", 1) == version
        assert {json.loads(entry.head)["v"] for entry in sample.logged()} == {version}


def test_each_version_but_the_newest_has_its_upcaster() -> None:
    assert sorted(upcasters.UPCASTERS) == list(VERSIONS)[:-1]


def test_no_sample_was_edited_since_it_was_stored() -> None:
    said = {}
    for line in (SAMPLES / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        said[name] = digest
    there = {path.relative_to(SAMPLES).as_posix(): path for path in SAMPLES.glob("v*/*")}
    assert there.keys() == said.keys(), "each file has its line in SHA256SUMS, and each line its file"
    for name, path in there.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == said[name], f"{name} was edited; put it back"


@pytest.mark.parametrize("sample", ALL, ids=str)
def test_the_door_takes_each_sample_and_makes_todays_form_of_it(sample: Sample) -> None:
    event = parse_event(sample.event)
    assert event.schema_version == upcasters.SCHEMA_VERSION
    assert event.event_id == sample.event["event_id"]


@pytest.mark.parametrize("sample", ALL, ids=str)
def test_history_shows_each_entry_as_the_door_takes_its_event(sample: Sample) -> None:
    """Falls where Logged.event does not lift, or lifts otherwise than the door does."""
    for logged in sample.logged():
        shown = logged.event(sample.session, sample.node)
        assert (shown["schema_version"], shown["position"]) == (upcasters.SCHEMA_VERSION, 7)
        assert parse_event(shown) == parse_event({**sample.event, "node_id": sample.node})


@pytest.mark.parametrize("sample", ALL, ids=str)
def test_kato_is_sent_what_the_entry_holds_whichever_version_lifts_its_event(sample: Sample) -> None:
    """So a replay gives KATO what it got live, and a producer of an older version that retries has no conflict."""
    event = parse_event(sample.event)
    now = Logged.parse(7, entry_of(event, event_id=sample.event["event_id"]).text)
    for logged in sample.logged():
        assert (logged.kind, logged.event_id, logged.body) == (now.kind, now.event_id, now.body)
        assert (logged.content, logged.has_vectors, logged.counts) == (now.content, now.has_vectors, now.counts)


@pytest.mark.parametrize("sample", samples_of(upcasters.SCHEMA_VERSION), ids=str)
def test_the_newest_samples_are_what_is_written_today(sample: Sample) -> None:
    """Falls when the entry's form changes: then it is another version, with samples of its own."""
    written = entry_of(parse_event(sample.event), event_id=sample.event["event_id"]).text
    head, rest = written[:2], written[2:]
    assert any(text[:1] + "0" + text[2:] == head + "1764000000000" + rest for text in sample.entries)


def test_each_upcaster_is_pure_and_leaves_what_kato_sees() -> None:
    for sample in (one for one in ALL if one.version < upcasters.SCHEMA_VERSION):
        step = upcasters.UPCASTERS[sample.version]
        for event in (sample.event, *(one.as_appended(sample.session, sample.node) for one in sample.logged())):
            assert faults(sample.version, step, event) == [], str(sample)


# --------------------------------------------------------------------- made-up versions 2 and 3


def source_becomes_origin(old: Json) -> Json:
    """Version 2 says in metadata "origin" where version 1 said "source"."""
    rest = {name: value for name, value in (old.get("metadata") or {}).items() if name != "source"}
    origin = (old.get("metadata") or {}).get("source", "unknown")
    return old | {"metadata": rest | {"origin": origin}}


def origin_gets_parts(old: Json) -> Json:
    """Version 3 has the origin as a list."""
    return old | {"metadata": old["metadata"] | {"origin": old["metadata"]["origin"].split("-")}}


STEPS = {1: source_becomes_origin, 2: origin_gets_parts}


@pytest.fixture
def speak(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make this process a kato_tasks of another version."""

    def version(number: int) -> None:
        monkeypatch.setattr(upcasters, "SCHEMA_VERSION", number)
        monkeypatch.setattr(upcasters, "UPCASTERS", {at: step for at, step in STEPS.items() if at < number})

    return version


def event(**changes: Any) -> Json:
    return {"session_id": "s", "observation": {"strings": ["x"]}, "metadata": {"source": "web-app"}, **changes}


def in_log(raw: Json) -> str:
    return entry_of(parse_event(raw), event_id="e").text


def test_an_absent_schema_version_is_1_and_an_older_one_is_lifted_step_by_step(speak: Callable[[int], None]) -> None:
    assert parse_event(event()).schema_version == 1
    speak(3)
    for raw in (event(), event(schema_version=None), event(schema_version=1)):
        lifted = parse_event(raw)
        assert (lifted.schema_version, lifted.metadata) == (3, {"origin": ["web", "app"]})
    newer = parse_event(event(schema_version=2, metadata={"origin": "a-b"}))
    assert newer.metadata == {"origin": ["a", "b"]}


def test_a_version_from_the_future_is_refused_at_the_door(speak: Callable[[int], None]) -> None:
    speak(3)
    with pytest.raises(InvalidEvent, match="is 4, and this kato_tasks knows versions up to 3; upgrade kato_tasks"):
        parse_event(event(schema_version=4))


def test_a_model_that_is_built_by_hand_has_todays_version(speak: Callable[[int], None]) -> None:
    """Falls where a model passes the door with a version that nobody checked."""
    for wrong in (2, 0, True, "1", None):
        with pytest.raises(ValueError, match="must be 1 in a model"):
            Event(session_id="s", event_type="learn", schema_version=wrong)
    speak(2)
    assert parse_event(Event(session_id="s", event_type="learn")).schema_version == 2


def test_history_lifts_what_lies_in_the_log_and_the_log_stays_as_it_was_appended(speak: Callable[[int], None]) -> None:
    texts = [in_log(event())]
    speak(2)
    texts.append(in_log(event()))
    speak(3)
    texts.append(in_log(event()))
    kept = list(texts)
    for version, seen in ((3, ["web", "app"]), (2, "web-app")):
        speak(version)
        shown = [Logged.parse(at, text).event("s", "n") for at, text in enumerate(texts[:version], 1)]
        assert [one["metadata"] for one in shown] == [{"origin": seen}] * version
        assert {one["schema_version"] for one in shown} == {version}
    assert [json.loads(Logged.parse(1, text).head)["v"] for text in texts] == [1, 2, 3]
    assert len({text.split("\n", 3)[3] for text in texts}) == 1, "KATO is sent the same in all versions"
    assert texts == kept


def test_an_entry_of_a_future_version_is_not_shown_and_says_to_upgrade(speak: Callable[[int], None]) -> None:
    speak(3)
    text = in_log(event())
    speak(2)
    logged = Logged.parse(9, text)
    with pytest.raises(UnreadableRow) as refused:
        logged.event("s", "n")
    assert str(refused.value) == (
        "the entry at position 9 of session 's' cannot be shown: its schema_version is 3, and this kato_tasks knows "
        "versions up to 2; upgrade kato_tasks first"
    )


def test_an_entry_whose_version_is_none_is_broken() -> None:
    logged = Logged.parse(9, in_log(event()).replace('{"v":1', '{"v":"x"', 1))
    with pytest.raises(UnreadableRow, match="must be a whole number from 1, not 'x'"):
        logged.event("s", "n")


def test_a_dead_letter_keeps_the_version_of_its_append_and_passes_the_door_when_it_is_redriven(
    speak: Callable[[int], None],
) -> None:
    """A worker that is older than a producer still buries what KATO refuses, and an upgrade redrives it."""
    speak(2)
    logged = Logged.parse(9, in_log(event()))
    speak(1)
    letter = logged.as_appended("s", "n")
    assert letter["schema_version"] == 2
    with pytest.raises(InvalidEvent, match="upgrade kato_tasks"):
        parse_event(letter)
    speak(3)
    assert parse_event(letter).metadata == {"origin": ["web", "app"]}


# ------------------------------------------------------------------------ upcasters that are refused


@pytest.mark.parametrize("sample", V1, ids=str)
def test_the_made_up_upcasters_have_no_faults(sample: Sample) -> None:
    assert faults(1, source_becomes_origin, sample.event) == []
    assert faults(2, origin_gets_parts, source_becomes_origin(sample.event)) == []


def in_place(old: Json) -> Json:
    old["metadata"] = {"origin": "x"}
    return old


def deep_in_place(old: Json) -> Json:
    old.get("metadata", {})["origin"] = "x"
    return old | {}


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        (in_place, "it changes the event that it is given"),
        (deep_in_place, "it changes the event that it is given"),
        (
            lambda old: old | {"metadata": {"at": random.random()}},
            "it makes something else of an event each time",
        ),
        (lambda old: old | {"metadata": {"pair": (1, 2)}}, "what it makes is no plain JSON"),
        (lambda old: old | {"observation": {"strings": ["y"]}}, "it changes observation"),
        (lambda old: old | {"event_id": "y"}, "it changes event_id"),
    ],
    ids=["in place", "deep in place", "random", "no JSON", "observation", "id"],
)
def test_an_upcaster_with_a_fault_is_found_out_by_the_samples(step: Callable[[Json], Json], fault: str) -> None:
    (sample,) = (one for one in V1 if one.name == "observation")
    assert fault in faults(1, step, sample.event)


@pytest.mark.parametrize("field", upcasters.SETTLED)
def test_an_upcaster_that_changes_what_kato_has_seen_lifts_nothing(
    field: str, speak: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = in_log(event())
    speak(2)
    other = {"observation": {"strings": ["other"]}}.get(field, "learn")
    monkeypatch.setitem(upcasters.UPCASTERS, 1, lambda old: old | {field: other})
    for lift in (lambda: parse_event(event()), lambda: Logged.parse(3, text).event("s", "n")):
        with pytest.raises(RuntimeError, match=f"the upcaster of version 1 changes {field}, which KATO has seen"):
            lift()
