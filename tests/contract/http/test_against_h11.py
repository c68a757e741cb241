"""The fast client reads legal answers as h11 does, however they are framed and wherever they are cut.

h11 is the parser under httpx: another implementation of the same text, so it says what is right.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from kato_tasks.adapters.kato_http.connection import Connection, Origin
from kato_tasks.errors import OutcomeUnknown
from kato_tasks.ports.kato import KatoRequest

Read = tuple[int, bytes, bool] | None
"""Status, body and whether the connection may carry another request; None: no whole answer."""

bodies = st.binary(max_size=60)
names = st.sampled_from(["X-Thing", "x-thing", "Server", "SERVER", "Date", "Vary"])
values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=12)
fields = st.lists(st.tuples(names, values), max_size=4)


def _cased(draw: st.DrawFn, name: str) -> str:
    return draw(st.sampled_from([name, name.lower(), name.upper()]))


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    """A body in chunks, with extensions and trailers as they may come."""
    written = b""
    while body:
        size = draw(st.integers(1, len(body)))
        length = draw(st.sampled_from(["%x", "%X", "0%x", "000%x"])) % size
        extension = draw(st.sampled_from(["", ";name", ";name=value"]))
        written += f"{length}{extension}\r\n".encode() + body[:size] + b"\r\n"
        body = body[size:]
    trailers = "".join(f"{name}: {value}\r\n" for name, value in draw(fields))
    return written + b"0\r\n" + trailers.encode() + b"\r\n"


@st.composite
def interim(draw: st.DrawFn) -> bytes:
    status = draw(st.sampled_from([100, 102, 103]))
    given_fields = "".join(f"{name}: {value}\r\n" for name, value in draw(fields))
    return f"HTTP/1.1 {status} Wait\r\n{given_fields}\r\n".encode()


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Everything that one legal answer to a POST may be, up to the end of the connection."""
    before = b"".join(draw(st.lists(interim(), max_size=3)))
    status = draw(st.sampled_from([200, 200, 200, 201, 204, 301, 304, 400, 404, 413, 422, 429]))
    version = "1.1" if before else draw(st.sampled_from(["1.1", "1.1", "1.1", "1.0"]))
    framing = draw(st.sampled_from(["length", "chunked", "end"]))
    body = draw(bodies)
    head = [(_cased(draw, name), value) for name, value in draw(fields)]
    connection = draw(st.sampled_from(["", "", "close", "keep-alive", "Close"]))
    if connection:
        head.append((_cased(draw, "Connection"), connection))
    if status in (204, 304):
        written = b""
    elif framing == "chunked" and version == "1.1":
        head.append((_cased(draw, "Transfer-Encoding"), draw(st.sampled_from(["chunked", "Chunked"]))))
        written = draw(chunked(body))
    elif framing == "length":
        head.append((_cased(draw, "Content-Length"), str(len(body))))
        written = body
    else:
        written = body
    head = draw(st.permutations(head))
    lines = "".join(f"{name}:{draw(st.sampled_from(['', ' ', '  ']))}{value}\r\n" for name, value in head)
    reason = draw(st.sampled_from(["OK", "", "Some Words Here"]))
    return before + f"HTTP/{version} {status} {reason}\r\n{lines}\r\n".encode() + written


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    places = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    yield from (data[start:end] for start, end in itertools.pairwise(places) if end > start)


def as_h11_reads(parts: list[bytes]) -> Read:
    """Fed until the answer is whole, as a client reads: what comes after is the next call's trouble."""
    peer = h11.Connection(h11.CLIENT)
    peer.send(h11.Request(method="POST", target="/", headers=[("host", "kato"), ("content-length", "0")]))
    peer.send(h11.EndOfMessage())
    status, body, rest = 0, b"", [*parts, b""]
    try:
        while True:
            event = peer.next_event()
            if event is h11.NEED_DATA:
                peer.receive_data(rest.pop(0))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return status, body, peer.their_state is h11.DONE and not any(peer.trailing_data)
            elif isinstance(event, h11.ConnectionClosed):
                return None
    except h11.RemoteProtocolError:
        return None


class Fed(Connection):
    """A connection whose socket holds what a test wrote."""

    def __init__(self, parts: list[bytes]) -> None:
        self.ours, self.theirs = socket.socketpair()
        super().__init__(Origin("http://127.0.0.1:1"))
        self.close()
        self._sock, self._state = self.ours, "sending"
        self.parts = parts

    def feed(self) -> None:
        if self.parts:
            self.theirs.sendall(self.parts.pop(0))
        else:
            self.theirs.shutdown(socket.SHUT_WR)


def as_we_read(parts: list[bytes]) -> Read:
    connection = Fed(list(parts))
    with connection.ours, connection.theirs:
        connection.ours.setblocking(False)
        connection.begin(KatoRequest("http://127.0.0.1:1", "POST", "/", "test", b""))
        try:
            while True:
                _, reply = connection.proceed()
                if reply is not None:
                    return reply.status, reply.body, connection.reusable
                connection.feed()
        except OutcomeUnknown:
            return None


cuts = st.lists(st.integers(0, 2_000), max_size=8)


@settings(max_examples=250, deadline=None)
@given(answers(), cuts)
def test_every_legal_answer_is_read_as_h11_reads_it(data: bytes, places: list[int]) -> None:
    parts = list(pieces(data, places))
    assert as_we_read(parts) == as_h11_reads(parts)


@settings(max_examples=250, deadline=None)
@given(answers(), st.integers(0, 2_000), cuts)
def test_an_answer_that_is_cut_short_is_whole_only_where_h11_says_so(data: bytes, end: int, places: list[int]) -> None:
    parts = list(pieces(data[: end % (len(data) + 1)], places))
    ours, theirs = as_we_read(parts), as_h11_reads(parts)
    assert ours == theirs


@settings(max_examples=150, deadline=None)
@given(answers(), answers(), cuts)
def test_a_connection_with_two_answers_to_one_call_is_used_again_only_where_h11_would(
    data: bytes, more: bytes, places: list[int]
) -> None:
    parts = list(pieces(data + more, places))
    assert as_we_read(parts) == as_h11_reads(parts)
