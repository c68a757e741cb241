"""What is held is sent in order, again until it is confirmed, and nothing is lost in silence."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from kato_tasks.errors import ConfigurationError, InvalidEvent, SourceUnavailable
from kato_tasks.ports.senders import MessageRefused
from kato_tasks.publishers import buffer as buffer_module
from kato_tasks.publishers.buffer import Buffering, SendingBuffer
from kato_tasks.testing.waiting import wait_until
from tests.unit.publishers.fake_sender import FakeSender, Outage, ids, message


@pytest.fixture
def sender() -> FakeSender:
    return FakeSender()


class Making:
    def __init__(self, sender: FakeSender) -> None:
        self._sender = sender
        self.made: list[SendingBuffer] = []

    def __call__(self, **rules: Any) -> SendingBuffer:
        quick = {"first_wait_seconds": 0.01, "longest_wait_seconds": 0.05}
        self.made.append(SendingBuffer(self._sender, Buffering(**quick | rules)))
        return self.made[-1]


@pytest.fixture
def make(sender: FakeSender) -> Iterator[Making]:
    making = Making(sender)
    yield making
    sender.open.set()
    sender.fault = lambda _batch: None
    for one in making.made:
        one.close(10)


def put(buffer: SendingBuffer, first: int, behind: int, size: int = 10) -> None:
    for number in range(first, behind):
        buffer.put(message(number, size))


# ------------------------------------------------------------------------------------- batches


def test_everything_is_sent_in_the_order_in_which_it_was_put(sender: FakeSender, make: Making) -> None:
    buffer = make(batch_events=7)
    put(buffer, 0, 100)
    buffer.flush(10)
    assert sender.ids() == ids(0, 100)
    assert buffer.pending == 0


def test_a_batch_has_at_most_so_many_messages_and_bytes(sender: FakeSender, make: Making) -> None:
    buffer = make(batch_events=10, batch_bytes=1_000)
    sender.open.clear()
    for number, size in enumerate((10, 10, 400, 400, 400, 5_000, *[10] * 25)):
        buffer.put(message(number, size))
    wait_until(lambda: buffer.pending == 31)
    sender.open.set()
    buffer.flush(10)
    assert sender.ids() == ids(0, 31)
    sizes = [len(batch) for batch in sender.batches]
    # The first may have gone before the rest was put.
    assert sizes[-6:] in ([4, 1, 1, 10, 10, 5], [3, 1, 1, 10, 10, 5]) or sum(sizes) == 31
    assert max(sizes) == 10
    assert ["id-5"] in sender.batches, "a message that is larger than a batch goes alone"


def test_a_message_waits_for_others_for_a_moment_and_no_longer(sender: FakeSender, make: Making) -> None:
    buffer = make(linger_seconds=0.2)
    put(buffer, 0, 3)
    wait_until(lambda: buffer.pending == 0, 10)
    assert sender.batches == [ids(0, 3)]


def test_a_full_batch_waits_for_nothing(sender: FakeSender, make: Making) -> None:
    buffer = make(linger_seconds=60, batch_events=5)
    put(buffer, 0, 5)
    wait_until(lambda: buffer.pending == 0, 10)
    assert sender.batches == [ids(0, 5)]


def test_a_flush_waits_for_no_more_messages(sender: FakeSender, make: Making) -> None:
    buffer = make(linger_seconds=60)
    put(buffer, 0, 3)
    buffer.flush(10)
    assert sender.ids() == ids(0, 3)


def test_messages_of_many_threads_keep_the_order_of_each(sender: FakeSender, make: Making) -> None:
    buffer = make(batch_events=20)
    with ThreadPoolExecutor(8) as pool:
        for thread in range(8):
            pool.submit(put, buffer, thread * 1_000, thread * 1_000 + 300)
    buffer.flush(10)
    found = [int(one.removeprefix("id-")) for one in sender.ids()]
    assert len(found) == 2_400
    for thread in range(8):
        assert [one for one in found if one // 1_000 == thread] == list(range(thread * 1_000, thread * 1_000 + 300))


# ------------------------------------------------------------------------------------ failures


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_batch_that_fails_is_sent_again_before_anything_behind_it(
    sender: FakeSender, make: Making, share: float
) -> None:
    """A reader that leaves out repeats sees everything in order, however much of a failed batch arrived."""
    buffer = make(batch_events=10)
    outage = Outage(sender, share)
    put(buffer, 0, 55)
    wait_until(lambda: outage.attempts >= 5)
    assert {one for batch in sender.batches for one in batch} == set(ids(0, 10)), "what is behind it waits"
    outage.end()
    buffer.flush(10)
    assert list(dict.fromkeys(sender.ids())) == ids(0, 55)


def test_the_waits_between_attempts_double_up_to_the_longest(sender: FakeSender, make: Making) -> None:
    buffer = make(first_wait_seconds=0.02, longest_wait_seconds=0.16, linger_seconds=0)
    at: list[float] = []

    def away(_batch: object) -> SourceUnavailable:
        at.append(time.monotonic())
        return SourceUnavailable("away")

    sender.fault = away
    put(buffer, 0, 1)
    wait_until(lambda: len(at) == 7)
    waits = [later - earlier for earlier, later in pairwise(at)]
    for wait, least in zip(waits, (0.01, 0.02, 0.04, 0.08, 0.08, 0.08), strict=True):
        assert wait >= least


def test_a_flush_asks_for_an_attempt_now(sender: FakeSender, make: Making) -> None:
    buffer = make(first_wait_seconds=60, longest_wait_seconds=60)
    outage = Outage(sender)
    put(buffer, 0, 3)
    wait_until(lambda: outage.attempts == 1)
    outage.end()
    buffer.flush(10)
    assert sender.ids() == ids(0, 3)


def test_a_flush_that_takes_too_long_says_how_many_are_not_confirmed_and_why(sender: FakeSender, make: Making) -> None:
    buffer = make(batch_events=10)
    put(buffer, 0, 20)
    buffer.flush(10)
    outage = Outage(sender)
    put(buffer, 20, 33)
    with pytest.raises(
        SourceUnavailable,
        match=r"^13 events not confirmed by fake place after 0.2 s, and tried again: the broker is away \(\d+\)$",
    ):
        buffer.flush(0.2)
    assert buffer.pending == 13
    outage.end()
    buffer.flush(10)
    assert sender.ids() == ids(0, 33)


def test_an_error_that_nobody_thought_of_is_tried_again_too(
    sender: FakeSender, make: Making, caplog: pytest.LogCaptureFixture
) -> None:
    buffer = make()
    faults = iter([ZeroDivisionError("a slip"), ZeroDivisionError("a slip")])
    sender.fault = lambda _batch: next(faults, None)
    put(buffer, 0, 3)
    buffer.flush(10)
    assert sender.ids() == ids(0, 3)
    assert "Traceback" in caplog.text


def test_an_outage_is_logged_when_it_begins_and_when_it_ends_and_not_at_each_attempt(
    sender: FakeSender, make: Making, caplog: pytest.LogCaptureFixture
) -> None:
    buffer = make()
    attempts = 0

    def away(_batch: object) -> SourceUnavailable | None:
        nonlocal attempts
        attempts += 1
        return SourceUnavailable("away") if attempts < 6 else None

    sender.fault = away
    with caplog.at_level(logging.INFO):
        put(buffer, 0, 3)
        buffer.flush(10)
        wait_until(lambda: "recovered" in caplog.text)
    events = [record.kato_event for record in caplog.records if hasattr(record, "kato_event")]
    assert events == ["publisher.postponed", "publisher.recovered"]


def test_what_cannot_work_as_it_is_set_up_ends_a_flush_at_once(sender: FakeSender, make: Making) -> None:
    buffer = make()
    sender.fault = lambda _batch: ConfigurationError("no such property")
    put(buffer, 0, 3)
    with pytest.raises(ConfigurationError, match=r"^no such property$"):
        buffer.flush(30)
    assert buffer.pending == 3


# ------------------------------------------------------------------------------------- refused


def test_a_message_that_is_refused_for_good_is_left_out_said_and_logged(
    sender: FakeSender, make: Making, caplog: pytest.LogCaptureFixture
) -> None:
    buffer = make(batch_events=10)

    def refuse(batch: Any) -> MessageRefused | None:
        large = [i for i, one in enumerate(batch) if one.message_id in ("id-7", "id-15", "id-30")]
        return MessageRefused(large[0], "is too large") if large else None

    sender.fault = refuse
    put(buffer, 0, 40)
    with pytest.raises(InvalidEvent) as refused:
        buffer.flush(10)
    assert str(refused.value) == "event: id-7 of session 's' is too large (and 2 more events were refused)"
    assert sender.ids() == [one for one in ids(0, 40) if one not in ("id-7", "id-15", "id-30")]
    assert "publisher.refused to=fake place event=id-15 session=s reason=is too large" in caplog.text
    buffer.flush(10)  # it is said once


# --------------------------------------------------------------------------------- a full buffer


def test_a_full_buffer_waits_for_room(sender: FakeSender, make: Making) -> None:
    buffer = make(buffer_events=20, batch_events=5)
    sender.open.clear()
    with ThreadPoolExecutor(1) as pool:
        putting = pool.submit(put, buffer, 0, 50)
        wait_until(lambda: buffer.pending == 20)
        assert not putting.done()
        sender.open.set()
        putting.result(10)
    buffer.flush(10)
    assert sender.ids() == ids(0, 50)


def test_so_does_one_that_holds_as_many_bytes_as_it_may(sender: FakeSender, make: Making) -> None:
    buffer = make(buffer_bytes=1_000)
    sender.open.clear()
    with ThreadPoolExecutor(1) as pool:
        putting = pool.submit(put, buffer, 0, 4, 300)
        wait_until(lambda: buffer.pending == 3)
        assert not putting.done()
        sender.open.set()
        putting.result(10)
    buffer.put(message(4, 5_000))  # alone it goes, however large
    buffer.flush(10)
    assert sender.ids() == ids(0, 5)


def test_a_buffer_that_stays_full_refuses_the_next_message_with_the_reason(sender: FakeSender, make: Making) -> None:
    buffer = make(buffer_events=3, block_seconds=0.1)
    outage = Outage(sender)
    put(buffer, 0, 3)
    wait_until(lambda: outage.attempts)
    with pytest.raises(
        SourceUnavailable, match=r"^3 events for fake place are not confirmed, and no more are held: the"
    ):
        put(buffer, 3, 4)
    outage.end()
    buffer.flush(10)
    put(buffer, 4, 5)
    buffer.flush(10)
    assert list(dict.fromkeys(sender.ids())) == ["id-0", "id-1", "id-2", "id-4"]


@pytest.mark.parametrize(
    "rules", [{"batch_events": 0}, {"buffer_events": 0}, {"linger_seconds": -1}, {"block_seconds": float("nan")}]
)
def test_a_rule_that_cannot_be_kept_is_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"^{next(iter(rules))} must be at least [01], not"):
        Buffering(**rules)


# -------------------------------------------------------------------------------------- the end


def test_closing_sends_what_is_held_and_disconnects_and_nothing_is_taken_after_it(
    sender: FakeSender, make: Making
) -> None:
    buffer = make(linger_seconds=60)
    put(buffer, 0, 3)
    buffer.close(10)
    assert sender.ids() == ids(0, 3)
    wait_until(lambda: sender.closed == 1)
    buffer.close(10)
    with pytest.raises(RuntimeError, match=r"^the publisher to fake place is closed; make another one$"):
        put(buffer, 3, 4)


def test_closing_says_how_many_messages_are_lost(sender: FakeSender, make: Making) -> None:
    buffer = make()
    Outage(sender)
    put(buffer, 0, 3)
    with pytest.raises(
        SourceUnavailable,
        match=r"^3 events were never confirmed by fake place, and the publisher is closed: .* publish them again$",
    ):
        buffer.close(0.2)
    wait_until(lambda: sender.closed == 1)


def test_one_who_waits_for_room_is_told_when_the_buffer_is_closed(sender: FakeSender, make: Making) -> None:
    buffer = make(buffer_events=1)
    Outage(sender)
    put(buffer, 0, 1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(put, buffer, 1, 2)
        with pytest.raises(SourceUnavailable):
            buffer.close(0.1)
        with pytest.raises(RuntimeError, match="is closed"):
            waiting.result(10)


def test_a_process_that_ends_sends_what_it_holds_and_logs_what_it_cannot(
    sender: FakeSender, make: Making, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(buffer_module, "EXIT_SECONDS", 0.3)
    buffer = make(linger_seconds=60)
    put(buffer, 0, 3)
    buffer_module._at_exit()
    assert sender.ids() == ids(0, 3)
    left = make()
    Outage(sender)
    put(left, 0, 2)
    buffer_module._at_exit()
    assert "publisher.left to=fake place waiting=2 reason=2 events were never confirmed" in caplog.text


def test_a_forked_process_leaves_to_its_parent_what_the_parent_holds(sender: FakeSender, make: Making) -> None:
    buffer = make(linger_seconds=60)
    put(buffer, 0, 3)
    held = threading.Event()
    busy = threading.Thread(target=lambda: _hold(buffer, held))
    busy.start()  # a lock that another thread holds at the fork is never given back in the child
    held.wait(10)
    child = os.fork()
    if child == 0:
        try:
            assert buffer.pending == 0
            put(buffer, 10, 12)
            buffer.flush(10)
            os._exit(0 if sender.ids() == ids(10, 12) else 1)
        except BaseException:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    busy.join()
    assert os.waitstatus_to_exitcode(status) == 0
    buffer.flush(10)
    assert sender.ids() == ids(0, 3)


def _hold(buffer: SendingBuffer, held: threading.Event) -> None:
    with buffer._changed:
        held.set()
        time.sleep(0.3)
