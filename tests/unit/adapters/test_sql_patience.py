"""A database that is connected and says nothing is not waited for without end."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from kato_tasks.adapters.sql.patience import cut_after


@dataclass
class Waiting:
    """A connection as psycopg has it, by its socket, and the silent server at its other end."""

    driver: SimpleNamespace
    ours: socket.socket
    server: socket.socket


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    ours, server = socket.socketpair()
    ours.settimeout(20)
    with ours, server:
        yield Waiting(SimpleNamespace(pgconn=SimpleNamespace(socket=ours.fileno())), ours, server)


def test_who_waits_for_a_silent_server_is_told_that_the_connection_ended(waiting: Waiting) -> None:
    with cut_after(waiting.driver, 0.05):
        assert waiting.ours.recv(1) == b""


def test_an_answer_in_time_leaves_the_connection_as_it_is(waiting: Waiting) -> None:
    with cut_after(waiting.driver, 20):
        waiting.server.sendall(b"x")
        assert waiting.ours.recv(1) == b"x"
    waiting.ours.sendall(b"y")
    assert waiting.server.recv(1) == b"y"
