"""One call on httpx, in a thread of its own; httpcore's trace tells when the request's first byte is written."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

import httpx

from kato_tasks.adapters.kato_http import answer
from kato_tasks.adapters.kato_http.httpx_instances import Instances
from kato_tasks.errors import ConfigurationError, KatoTasksError, KatoUnavailable, LeaseLost, OutcomeUnknown
from kato_tasks.ports.kato import KatoReply, KatoRequest

Tag = TypeVar("Tag")
SENDING = frozenset({"http11.send_request_headers.started", "http2.send_request_headers.started"})
"""Trace events right before the first byte of a request (or of a CONNECT to a proxy, which is not our request)."""
CONNECTED = frozenset({"connection.connect_tcp.complete", "connection.start_tls.complete"})
SLACK_SECONDS = 0.25
"""Seconds by which our deadline is later than httpcore's time-outs, whose errors say more."""


class _TooLate(Exception):
    """The caller has given up, and was told that nothing was sent."""


class Call(Generic[Tag]):
    """One request and its outcome. ``owner`` gets it when it has ended; at ``deadline`` it is given up.

    A lock orders the first byte and the giving up, so that a caller who is told "never sent" can rely on it.
    """

    def __init__(
        self, request: KatoRequest, tag: Tag, owner: SimpleQueue[Call[Tag] | None], seconds: tuple[float, float]
    ) -> None:
        self.request = request
        self.tag = tag
        self.owner = owner
        self.reply: KatoReply | None = None
        self.error: KatoTasksError | None = None
        self._connect_seconds, self._answer_seconds = seconds
        self.deadline = time.monotonic() + self._connect_seconds + SLACK_SECONDS
        self._lock = threading.Lock()
        self._sent = False
        self._over = False
        self._stream: Any = None
        self._name = ""
        self._outcome: tuple[KatoReply | None, KatoTasksError | None] = (None, None)

    # ------------------------------------------------- in the thread that waits

    def give_up(self, why: str) -> bool:
        """End the call now, for the reason ``why``; returns False when it has ended already."""
        with self._lock:
            if self._over:
                return False
            self._over = True
            self.error = self._failure(why if self._sent else f"connecting {why}")
        self._break_off()
        return True

    def hand_over(self, owner: SimpleQueue[Call[Tag] | None]) -> None:
        """Let another owner get the call when it has ended."""
        with self._lock:
            self.owner = owner

    def _break_off(self) -> None:
        """Make the thread that carries it out return, if its socket is known."""
        if self._stream is not None:
            sock = self._stream.get_extra_info("socket")
            with contextlib.suppress(OSError, TypeError, ValueError):  # it may have gone already
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    # ------------------------------------------- in the thread that carries it out

    def carry_out(self, instances: Instances) -> None:
        """Send the request and read the answer; never raises."""
        reply: KatoReply | None = None
        error: KatoTasksError | None = None
        try:
            with instances.client(self.request.url) as (instance, client):
                self._name = instance.name
                reply = self._read_answer(client)
        except KatoTasksError as exc:
            error = exc
        except Exception as exc:
            error = self._meant(exc)
        self._outcome = reply, error

    def tell(self) -> None:
        """Tell the owner how the call ended, unless the owner has given it up."""
        with self._lock:
            if not self._over:
                self._over = True
                self.reply, self.error = self._outcome
                self.owner.put(self)

    def _read_answer(self, client: httpx.Client) -> KatoReply:
        asked = self.request
        request = client.build_request(
            asked.method,
            self._name + asked.path,
            content=asked.body,
            headers={"content-type": "application/json"} if asked.body is not None else None,
            timeout=httpx.Timeout(self._answer_seconds, connect=self._connect_seconds, pool=None),
            extensions={"trace": self._trace},
        )
        response = client.send(request, stream=True)
        clean = False
        try:
            if response.status_code == 101:
                raise self._failure("it changed to another protocol")
            body = b"".join(self._parts(response))
            clean = response.status_code < 500 and not _left_over(response)
        finally:
            if not clean and response.http_version != "HTTP/2":
                # KATO closes after an error of its own without saying so, and other bytes answer no request.
                response.extensions["network_stream"].close()
            response.close()
        headers: dict[bytes, bytes] = {}
        for name, value in response.headers.raw:
            key = name.lower()
            headers[key] = headers[key] + b", " + value if key in headers else value
        return answer.reply(response.status_code, body, headers, self.request.most_bytes)

    def _parts(self, response: httpx.Response) -> Iterator[bytes]:
        size = 0
        assert isinstance(response.stream, httpx.SyncByteStream)
        for part in response.stream:
            size += len(part)
            if size > self.request.most_bytes:
                raise OutcomeUnknown(f"{self.request.route}: {answer.too_large(self.request.most_bytes)}")
            if self._over:
                raise _TooLate
            yield part

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        if event in SENDING and info["request"].method != b"CONNECT":
            self._may_send()
        elif event in CONNECTED:
            self._stream = info["return_value"]
            if not self._sent:
                self.deadline = time.monotonic() + self._connect_seconds + SLACK_SECONDS

    def _may_send(self) -> None:
        """Decide, at the last moment before the first byte, whether the request may be sent."""
        with self._lock:
            if self._over:
                raise _TooLate
            if self.request.may_send is not None and not self.request.may_send():
                raise LeaseLost("the lease ran out before the call to KATO was sent")
            self._sent = True  # from here on the outcome is unknown
            self.deadline = time.monotonic() + self._answer_seconds + SLACK_SECONDS

    def _meant(self, exc: Exception) -> KatoTasksError:
        """Return the error that an exception means for the call."""
        cause: BaseException | None = exc
        while cause is not None and not self._sent:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return ConfigurationError(
                    f"KATO_TASKS_KATO_URLS: {self._name} has no certificate that is trusted here ({cause}); "
                    "KATO_TASKS_KATO_CA_FILE names whom to trust"
                )
            if isinstance(cause, socket.gaierror):
                return KatoUnavailable(f"KATO's address {self._name} cannot be resolved: {cause}")
            cause = cause.__cause__ or cause.__context__
        if isinstance(exc, httpx.TimeoutException):
            return self._failure("timed out" if self._sent else "connecting timed out")
        return self._failure(str(exc) or type(exc).__name__)

    def _failure(self, why: str) -> KatoUnavailable | OutcomeUnknown:
        if self._sent:
            return OutcomeUnknown(f"{self.request.route}: no answer from KATO at {self._name} ({why})")
        return KatoUnavailable(f"KATO at {self._name} cannot be reached ({why})")


def _left_over(response: httpx.Response) -> bool:
    """Whether more arrived than was asked for: the next call would take it for its answer.

    Only h11's state knows this, and httpx does not expose it. If it cannot be found, the connection is not reused.
    """
    found: Any = response.stream
    for name in ("_stream", "_httpcore_stream", "_stream", "_connection", "_h11_state"):
        found = getattr(found, name, None)
    return response.http_version != "HTTP/2" and (found is None or any(found.trailing_data))
