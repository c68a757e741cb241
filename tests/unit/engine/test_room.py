"""How many lanes a process takes: as many as KATO can be given calls of."""

from __future__ import annotations

import threading
import time

import pytest

from kato_tasks.engine.running.room import HANGS_SECONDS, LATELY_SECONDS, Room

A, B = "http://a", "http://b"


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def begin(room: Room, url: str, calls: int) -> None:
    for _ in range(calls):
        room.record_begin(url)


def answer(room: Room, url: str, calls: int) -> None:
    for _ in range(calls):
        room.record_end(url, answered=True)


def test_a_call_that_is_given_up_in_the_middle_of_counting_another_is_counted_too() -> None:
    """The collector may close a generator at any allocation, and that gives its call up in the same thread."""
    given_up: list[str] = []

    def clock() -> float:
        if not given_up:
            given_up.append(A)
            room.record_end(A, answered=False)
        return 1_000.0

    room = Room(64, 16, clock)
    counting = threading.Thread(target=begin, args=(room, A, 2), daemon=True)
    counting.start()
    counting.join(10)
    assert not counting.is_alive(), "it waits for itself"
    assert room.silence(A)[0] == 1


def test_at_first_a_process_takes_as_many_lanes_as_it_may(clock: Clock) -> None:
    assert Room(64, 16, clock).lanes_to_lease(64) == 64


def test_an_instance_is_given_what_its_connections_carry_and_what_it_answers_in_a_second(clock: Clock) -> None:
    room = Room(64, 16, clock)
    begin(room, A, 16)
    assert room.calls_left() == 0
    answer(room, A, 10)
    assert room.calls_left() == 16 + 10 - 6
    clock.now += 1
    begin(room, A, 1)
    answer(room, A, 1)
    assert room.calls_left() == 16 + 10 - 6, "the second before counts"
    clock.now += 1
    begin(room, A, 1)
    answer(room, A, 1)
    assert room.calls_left() == 16 + 1 - 6, "what it did earlier does not"
    begin(room, A, 500)
    answer(room, A, 500)
    assert room.calls_left() == 64 - 6, "however quick it is"


def test_lanes_are_not_leased_a_few_at_a_time(clock: Clock) -> None:
    room = Room(64, 16, clock)
    begin(room, A, 16)
    answer(room, A, 7)
    begin(room, A, 5)
    assert (room.calls_left(), room.lanes_to_lease(64)) == (9, 0)
    answer(room, A, 2)
    assert (room.calls_left(), room.lanes_to_lease(64)) == (13, 13), "half of the 25 that may be under way"


def test_an_instance_that_hangs_takes_no_room_of_another(clock: Clock) -> None:
    """Invariant 5. Falls when the calls that nobody answers count."""
    room = Room(64, 16, clock)
    begin(room, A, 40)
    begin(room, B, 1)
    assert room.calls_left() == 32 - 41
    clock.now += HANGS_SECONDS
    answer(room, B, 1)
    assert room.lanes_to_lease(64) == 17
    clock.now += HANGS_SECONDS
    begin(room, B, 1)
    clock.now += HANGS_SECONDS
    assert room.lanes_to_lease(64) == 64, (
        "where none answers all is as if there were no room to count: the breaker speaks then"
    )


def test_an_instance_works_that_answered_while_a_call_waited_for_a_connection(clock: Clock) -> None:
    room = Room(64, 16, clock)
    assert room.is_answering(A)
    begin(room, A, 2)
    clock.now += LATELY_SECONDS - 1
    assert room.is_answering(A)
    answer(room, A, 1)
    clock.now += LATELY_SECONDS
    assert not room.is_answering(A)
    room.record_end(A, 1, answered=False)
    assert room.is_answering(A), "it has nothing to answer"


def test_whoever_waits_for_room_goes_on_as_soon_as_there_is_some() -> None:
    room = Room(4, 4)
    begin(room, A, 4)
    assert room.wait_for_lanes(4, time.monotonic() + 0.01) == 0
    found: list[int] = []
    waiting = threading.Thread(target=lambda: found.append(room.wait_for_lanes(4, time.monotonic() + 30)))
    waiting.start()
    room.record_end(A, 3, answered=False)
    waiting.join(10)
    assert found == [3]
