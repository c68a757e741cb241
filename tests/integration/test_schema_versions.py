"""A kato_tasks of a later schema version, and one of an earlier one, on the same store: from the door to history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kato_tasks import InvalidEvent, UnreadableRow, append_events, history, learn, predict
from kato_tasks.api import dead_letters
from kato_tasks.bootstrap import runtime
from kato_tasks.domain import upcasters
from kato_tasks.testing.inline import Inline

Json = dict[str, Any]


def source_becomes_origin(old: Json) -> Json:
    return old | {"metadata": {"origin": (old.get("metadata") or {}).get("source")}}


@pytest.fixture
def speak(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make this process a kato_tasks of version 1 or of a made-up version 2."""

    def version(number: int) -> None:
        monkeypatch.setattr(upcasters, "SCHEMA_VERSION", number)
        monkeypatch.setattr(upcasters, "UPCASTERS", {1: source_becomes_origin} if number == 2 else {})

    return version


def event(name: str, **more: Any) -> Json:
    return {"session_id": "ann", "event_id": name, "observation": {"strings": [name]}, **more}


def test_what_was_appended_before_an_upgrade_is_shown_in_the_new_form_and_kato_has_it_as_it_was(
    kato_tasks_inline: Inline, speak: Callable[[int], None]
) -> None:
    append_events([event("a", metadata={"source": "web"})])
    speak(2)
    append_events([event("b", metadata={"source": "app"}), event("c", schema_version=2, metadata={"origin": "shop"})])
    kato_tasks_inline.work()
    assert learn.delay("ann").get()["status"] == "learned"
    shown = list(history("ann"))
    assert [(one["schema_version"], one["metadata"]["origin"]) for one in shown[:3]] == [
        (2, "web"),
        (2, "app"),
        (2, "shop"),
    ]
    (again,) = append_events([event("a", metadata={"source": "web"})])
    assert again.duplicate, "a producer of the version before retries, and its event is the same one"
    append_events([event("a", event_id="a again")])
    (found,) = predict.delay("ann").get()["predictions"]
    assert found["sequence"] == [["a"], ["b"], ["c"]]


def test_an_older_kato_tasks_refuses_a_newer_event_and_says_to_upgrade_where_one_lies_in_the_log(
    kato_tasks_inline: Inline, speak: Callable[[int], None]
) -> None:
    append_events([event("a")])
    speak(2)
    append_events([event("b", schema_version=2)])
    speak(1)
    with pytest.raises(InvalidEvent, match="schema_version: is 2, and this kato_tasks knows versions up to 1"):
        append_events([event("c", schema_version=2)])
    assert [one["event_id"] for one in history("ann", limit=1)] == ["a"]
    with pytest.raises(UnreadableRow, match=r"position 2 of session 'ann'.*upgrade kato_tasks"):
        list(history("ann"))


def test_a_dead_letter_of_a_newer_version_stays_until_an_upgrade_and_is_redriven_then(
    kato_tasks_inline: Inline, speak: Callable[[int], None]
) -> None:
    speak(2)
    about = {"session_id": "ann", "schema_version": 2, "metadata": {"origin": "shop"}}
    append_events([about | {"event_id": "too soon", "event_type": "learn"}])
    kato_tasks_inline.work()
    append_events([event("a"), event("b")])
    kato_tasks_inline.work()
    speak(1)
    (letter,) = dead_letters.dead_letters(runtime())
    assert (letter.event_id, letter.event["schema_version"]) == ("too soon", 2)
    with pytest.raises(InvalidEvent, match="upgrade kato_tasks"):
        dead_letters.redrive(runtime(), letter)
    speak(2)
    dead_letters.redrive(runtime(), letter)
    kato_tasks_inline.work()
    (newest,) = history("ann", after=3)
    assert (newest["event_id"], newest["metadata"]) == ("too soon~redriven-1", {"origin": "shop"})
    assert list(dead_letters.dead_letters(runtime())) == []
    append_events([event("a", event_id="a again")])
    assert predict.delay("ann").get()["predictions"][0]["sequence"] == [["a"], ["b"]]
