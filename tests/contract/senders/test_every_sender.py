"""What ``ports.senders.Sender`` promises, of the sender of each broker, on a real server of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kato_tasks.errors import SourceUnavailable
from kato_tasks.ports.senders import Outgoing, Sender
from kato_tasks.testing.waiting import wait_until
from tests.contract.senders.brokers import SECRET, Broker, first_arrivals, messages, sent


def test_messages_of_one_key_arrive_in_the_order_in_which_they_were_sent(broker: Broker) -> None:
    sender = broker.sender()
    for first in range(0, 1_500, 500):
        sender.send(messages(first, 500, keys=7))
    sender.close()
    arrived = broker.arrived()
    assert len(arrived) == 1_500
    assert first_arrivals(arrived) == sent(messages(0, 1_500, keys=7))


def test_a_message_arrives_with_its_key_its_value_its_id_and_its_headers(broker: Broker) -> None:
    value = '{"text": "Grüße"}'.encode()
    headers = {"content-type": "application/cloudevents+json", "trace": "ü-1"}
    sender = broker.sender()
    sender.send([Outgoing("user.1/ä", value, "the-id", headers)])
    sender.close()
    (one,) = broker.arrived()
    assert (one.key, one.value, one.message_id, one.headers) == ("user.1/ä", value, "the-id", headers)


def test_what_was_confirmed_is_there_though_the_broker_is_killed_at_once(broker: Broker) -> None:
    sender = broker.sender()
    sender.send(messages(0, 300))
    broker.server.kill()
    sender.close()
    broker.server.start()
    assert first_arrivals(broker.arrived()) == sent(messages(0, 300))


class Batches:
    """Sends batches one after the other, and each again until it is confirmed."""

    def __init__(self, sender: Sender, count: int) -> None:
        self.confirmed = 0
        self.failures: list[str] = []
        self._sender = sender
        self._count = count

    def run(self) -> None:
        while self.confirmed < self._count:
            try:
                self._sender.send(messages(self.confirmed * 50, 50))
            except SourceUnavailable as exc:
                self.failures.append(str(exc))
                time.sleep(0.05)  # a caller backs off
            else:
                self.confirmed += 1


def test_a_broker_that_is_killed_in_the_middle_has_everything_in_order_once_it_was_sent_again(broker: Broker) -> None:
    """A reader that leaves out what it knows by its id sees every message, in its session's order."""
    sender = broker.sender(seconds=3)
    batches = Batches(sender, 400)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(batches.run)
        wait_until(lambda: batches.confirmed >= 20 or running.done(), 60)
        broker.server.kill()
        wait_until(lambda: batches.failures, 60)
        broker.server.start()
        running.result(timeout=90)
    sender.close()
    arrived = broker.arrived()
    assert first_arrivals(arrived) == sent(messages(0, 20_000))
    values = {(one.message_id, one.value) for one in arrived}
    assert len(values) == 20_000, "a message that was sent again has another value or id"
    told = batches.failures[0]
    assert "\n" not in told
    assert told.endswith("or correct its address") or "closed" in told or "stopped" in told or "failed" in told, told


def test_a_broker_that_does_not_answer_is_told_in_time_and_gets_the_messages_when_it_does_again(
    broker: Broker,
) -> None:
    sender = broker.sender(seconds=1.5)
    sender.send(messages(0, 10))
    broker.server.pause()
    begun = time.monotonic()
    with pytest.raises(SourceUnavailable) as silent:
        sender.send(messages(10, 10))
    assert time.monotonic() - begun < 8
    assert "\n" not in str(silent.value)
    broker.server.resume()
    wait_until(lambda: _sent(sender, 10), 30)
    sender.close()
    assert first_arrivals(broker.arrived()) == sent(messages(0, 20))


def _sent(sender: Sender, first: int) -> bool:
    try:
        sender.send(messages(first, 10))
    except SourceUnavailable:
        return False
    return True


def test_an_address_where_nobody_listens_is_one_sentence_with_the_address_and_without_its_password(
    broker: Broker,
) -> None:
    sender = broker.sender_to_nobody()
    begun = time.monotonic()
    with pytest.raises(SourceUnavailable) as refused:
        sender.send(messages(0, 3))
    assert time.monotonic() - begun < 5
    told = str(refused.value)
    assert "at 127.0.0.1:" in told
    assert told.endswith("does not answer (Connection refused): start it, or correct its address") or (
        "Connection refused" in told and told.endswith("start it, or correct its address")
    ), told
    assert SECRET not in told
    sender.close()


def test_a_connection_that_broke_while_nothing_was_sent_costs_no_failure(broker: Broker) -> None:
    sender = broker.sender()
    sender.send(messages(0, 5))
    broker.server.stop()
    broker.server.start()
    sender.send(messages(5, 5))
    sender.close()
    assert first_arrivals(broker.arrived()) == sent(messages(0, 10))


def test_closing_never_raises_and_the_next_send_connects_again(broker: Broker) -> None:
    sender = broker.sender()
    sender.close()
    sender.send(messages(0, 5))
    sender.close()
    sender.close()
    sender.send(messages(5, 5))
    broker.server.kill()
    sender.close()
    broker.server.start()
    assert first_arrivals(broker.arrived()) == sent(messages(0, 10))


def test_nothing_to_send_is_confirmed_at_once(broker: Broker) -> None:
    sender = broker.sender_to_nobody()
    sender.send([])
    sender.close()


@pytest.mark.parametrize("first_use", ["before the fork", "after it"])
def test_a_forked_process_sends_by_a_connection_of_its_own(broker: Broker, first_use: str) -> None:
    sender = broker.sender()
    if first_use == "before the fork":
        sender.send(messages(0, 10))
    child = os.fork()
    if child == 0:
        try:
            sender.send(messages(10, 10))
            sender.close()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    sender.send(messages(20, 10))
    sender.close()
    due = [*messages(0, 10), *messages(10, 10), *messages(20, 10)]
    assert first_arrivals(broker.arrived()) == sent(due if first_use == "before the fork" else due[10:])


def test_a_forked_process_that_sends_nothing_ends_as_any_other_and_leaves_its_parents_connection(
    broker: Broker,
) -> None:
    """A process that ends frees what it holds; freed in a child, librdkafka's producer crashes or never returns."""
    done = subprocess.run(
        [sys.executable, "-c", FORKING, type(broker).__name__, broker.server.url, broker.place],
        env=dict(os.environ) | {"PYTHONPATH": CHECKOUT},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
    assert first_arrivals(broker.arrived()) == sent(messages(0, 20))


CHECKOUT = str(Path(__file__).resolve().parents[3])
FORKING = """
import gc, os, sys
from types import SimpleNamespace
from tests.contract.senders import brokers

kind, url, place = sys.argv[1:]
there = SimpleNamespace(server=SimpleNamespace(url=url), place=place)
sender = getattr(brokers, kind).sender(there)
sender.send(brokers.messages(0, 10))
child = os.fork()
if child == 0:
    del sender
    gc.collect()
    sys.exit()
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
sender.send(brokers.messages(10, 10))
sender.close()
"""
