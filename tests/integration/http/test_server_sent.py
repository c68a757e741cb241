"""Server-sent events: a session's results and KATO's predictions as they come, each once, and resumed."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from kato_tasks import append_events
from kato_tasks.testing.waiting import wait_until
from tests.integration.http.server import HttpServer, Json, event
from tests.integration.recovering import THREADS
from tests.integration.system import System, drained


class Stream:
    """What a client of the stream has been sent."""

    def __init__(self, server: HttpServer, session: str, last: str = "", **query: Any) -> None:
        self.parts: list[tuple[str, str, Json]] = []
        self.status = 0
        self.ended = threading.Event()
        self._server, self._query, self._last = server, query, last
        self._path = f"/v1/sessions/{quote(session, safe='')}/results"
        self._stop = threading.Event()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)

    @contextlib.contextmanager
    def open(self) -> Iterator[Stream]:
        self._thread.start()
        wait_until(lambda: self.status, 10, "the stream begins")
        try:
            yield self
        finally:
            self._stop.set()
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
            self._thread.join(20)

    def _read(self) -> None:
        headers = {"last-event-id": self._last} if self._last else {}
        with (
            self._server.client(timeout=httpx.Timeout(5, read=20)) as client,
            contextlib.suppress(httpx.HTTPError),
            client.stream("GET", self._path, params=self._query, headers=headers) as answer,
        ):
            self._socket = answer.extensions["network_stream"].get_extra_info("socket")
            self.status = answer.status_code
            part: dict[str, str] = {}
            for line in answer.iter_lines():
                if self._stop.is_set():
                    return
                name, _, value = line.partition(": ")
                if name in ("id", "event", "data"):
                    part[name] = value
                elif not line and "data" in part:
                    self.parts.append((part["id"], part["event"], json.loads(part["data"])))
                    part = {}
        self.ended.set()

    def ids(self) -> list[str]:
        return [name for name, _, _ in self.parts]


@pytest.fixture(scope="module")
def working(system: System) -> Iterator[System]:
    with system.workers(THREADS):
        yield system


def learn(session: str) -> Json:
    return {"session_id": session, "event_type": "learn"}


def test_results_and_predictions_come_in_order_as_events_are_applied(
    working: System, server: HttpServer, name: str
) -> None:
    append_events([event(name, "e1", "a"), event(name, "e2", "b"), {**learn(name), "event_id": "l"}])
    drained([name])
    with Stream(server, name, after=0).open() as stream:
        wait_until(lambda: "3p" in stream.ids(), 20, "what was there is told")
        assert [(one[0], one[1]) for one in stream.parts] == [
            ("1", "result"),
            ("2", "result"),
            ("3", "result"),
            ("3p", "predictions"),
        ]
        assert [one[2]["event_id"] for one in stream.parts[:3]] == ["e1", "e2", "l"]
        append_events([event(name, "e4", "a"), event(name, "e5", "x")])
        wait_until(lambda: "5p" in stream.ids(), 20, "what came is told")
        told = {one[0]: one[2] for one in stream.parts}
        assert told["5p"]["after"] == 5
        assert told["5p"]["predictions"][0]["future"] == [["b"]]
        assert told["4"]["status"] == "applied"
    del working


def test_a_callers_own_result_is_told_with_what_kato_answered(working: System, server: HttpServer, name: str) -> None:
    with server.client() as client:
        client.post(f"/sessions/{quote(name, safe='')}/observe", json={"strings": ["a"]})
        with Stream(server, name, predictions=False).open() as stream:
            for action in ("observe", "learn"):
                client.post(f"/sessions/{quote(name, safe='')}/{action}", json={"strings": ["b"]})
            wait_until(lambda: len(stream.parts) == 2, 10, "both results are told")
    assert stream.ids() == ["2", "3"]
    (_, _, observed), (_, _, learned) = stream.parts
    assert (observed["status"], observed["stm_length"]) == ("okay", 2)
    assert (learned["status"], learned["pattern_name"][:5]) == ("learned", "PTRN|")
    del working


def test_a_dead_letter_is_told_with_its_reason(working: System, server: HttpServer, name: str) -> None:
    append_events([event(name, "e1", "a"), learn(name), {**learn(name), "event_id": "twice"}])
    drained([name])
    with Stream(server, name, after=2, predictions=False).open() as stream:
        wait_until(lambda: stream.parts, 10, "it is told")
    assert stream.parts[0][2] == {
        "session_id": name,
        "position": 3,
        "event_id": "twice",
        "event_type": "learn",
        "status": "dead_letter",
        "reason": "nothing to learn",
    }
    del working


def test_a_stream_that_broke_off_goes_on_behind_its_last_event(working: System, server: HttpServer, name: str) -> None:
    """Falls when `Last-Event-ID` does not say whether the predictions behind an event were told."""
    append_events([event(name, f"e{i}", str(i)) for i in range(1, 6)])
    drained([name])
    for last, expected in (("2", ["3", "4", "5", "5p"]), ("5", ["5p"]), ("4p", ["5", "5p"])):
        with Stream(server, name, last=last).open() as stream:
            wait_until(lambda: "5p" in stream.ids(), 20, "the rest is told")
        assert stream.ids() == expected
    with Stream(server, name, last="5p").open() as stream:
        append_events([event(name, "e6", "6")])
        wait_until(lambda: "6p" in stream.ids(), 20, "only what is new is told")
    assert stream.ids() == ["6", "6p"]
    with server.client() as client:
        path = f"/v1/sessions/{quote(name, safe='')}/results"
        answer = client.get(path, headers={"last-event-id": "x"})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "Last-Event-ID")
        assert client.get("/v1/sessions/nobody/results").status_code == 404
    del working


def test_a_client_that_comes_back_again_and_again_misses_nothing_and_gets_nothing_twice(
    working: System, server: HttpServer, name: str
) -> None:
    append_events([event(name, "e0", "0")])
    seen: list[str] = []
    last = "0"
    done = threading.Event()

    def send() -> None:
        for number in range(1, 150):
            append_events([event(name, f"e{number}", str(number % 5))])
            time.sleep(0.01)
        done.set()

    sender = threading.Thread(target=send)
    sender.start()
    deadline = time.monotonic() + 60
    while "150" not in seen and time.monotonic() < deadline:
        with Stream(server, name, last=last, predictions=False).open() as stream:
            wait_until(lambda: len(stream.parts) > 10 or "150" in stream.ids(), 20, "some come")
            came = list(stream.ids())
        seen += came
        last = came[-1]
    sender.join()
    assert seen == [str(number) for number in range(1, 151)]
    del working


def test_a_stopping_server_ends_its_streams_at_once(system: System, tmp_path: Path, name: str) -> None:
    append_events([event(name, "e1")])
    server = HttpServer(tmp_path / "ending", system.environment)
    server.start()
    with Stream(server, name, predictions=False).open() as stream:
        began = time.monotonic()
        server.stop()
        assert stream.ended.wait(10)
        assert time.monotonic() - began < 10
    assert "Traceback" not in server.text()
