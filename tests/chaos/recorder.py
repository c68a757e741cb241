"""A proxy right before a real KATO: it keeps the journal that the embedded one keeps of itself, and plays its faults.

It answers the embedded KATO's routes under ``/_embedded/`` (stats, sessions, patterns, faults), so what stands on those
stands on a real KATO too. Each call's answer is read to its end, also when the caller has gone. With the faults the
call is held up, cut off or answered in KATO's place, before or after KATO has carried it out.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from kato_tasks.embedded.kato.faults import KINDS, Faults, Kind
from kato_tasks.embedded.kato.routes import NAMES
from kato_tasks.embedded.kato.traffic import Call
from kato_tasks.kato_wire.names import sanitised
from tests.chaos.journal import Journal, Json, Request
from tests.gateway import OF_ONE_CONNECTION, Answer, Gateway, Received, has_gone

PLAYED = frozenset(
    {"delay", "delay_after", "drop_before", "drop_after", "error_before", "error_after", "not_found", "expire"}
) | {"unavailable"}
"""The embedded KATO's faults that can be played before a real one."""
SABOTAGE = frozenset({"twice", "dropped", "swapped", "learned"})
ANSWER_SECONDS = 120.0
"""How long KATO may take for one answer."""

_PLAIN = {"content-type": "text/plain; charset=utf-8", "server": "uvicorn"}
_ERROR: Answer = (500, _PLAIN, b"Internal Server Error")
_UNAVAILABLE: Answer = (503, _PLAIN, b"Service Unavailable")


class KatoLost(Exception):
    """KATO did not answer: it is down, or ended in the middle of the call."""


class Recorder(Gateway):
    """Listens like the gateway; see the module. Sabotage is for proving the judge: what a worker can not see."""

    def __init__(self, upstream: str, *, seed: int = 1) -> None:
        super().__init__(upstream, seed=seed, timeout_seconds=ANSWER_SECONDS)
        self.journal = Journal()
        self.faults = Faults()
        self.sabotage: list[str] = []
        self.books = threading.Lock()
        self._callers: dict[Call, socket.socket] = {}

    def _handle(self, sock: socket.socket, call: Received) -> bool:
        if call.path.startswith("/_embedded/"):
            status, shown = self._tell(call)
            return self._write(sock, call, (status, {"content-type": "application/json"}, json.dumps(shown).encode()))
        request = Request(call.method, call.path, call.body)
        with self.books:
            # A worker that gives up closes its connection before it sends anything else: one that has gone by now had
            # gone before this call came, whatever the threads that watch have noticed.
            for other in [other for other, caller in self._callers.items() if has_gone(caller)]:
                self.journal.traffic.leave(other)
            at = self.journal.traffic.arrive(call.path, None)
            self._callers[at] = sock
            rule = self.faults.choose(request.action, self.journal.node_of(request))
        kind = KINDS[rule.kind] if rule is not None else Kind()
        seconds = rule.seconds if rule is not None else 0.0
        try:
            answer = self._carried_out(sock, request, at, kind, seconds)
        except KatoLost:
            return False
        finally:
            # Before the answer: what its caller does on reading it does not overlap.
            with self.books:
                del self._callers[at]
                self.journal.traffic.finish(at)
        if kind.close or at.gone_at is not None:
            return False
        if kind.answer:
            answer = {"error": _ERROR, "unavailable": _UNAVAILABLE, "gone": _gone(request.session)}[kind.answer]
        # KATO closes a connection after an unhandled 500 without saying so.
        return self._write(sock, call, answer, close=kind.answer == "unavailable") and answer[0] != 500

    def _carried_out(self, sock: socket.socket, request: Request, at: Call, kind: Kind, seconds: float) -> Answer:
        """What KATO makes of it, with the fault around it."""
        if kind.wait_before:
            self._wait_for_caller(sock, at, seconds)
        if kind.prepare == "expire":
            self._ask(Request("DELETE", f"/sessions/{quote(request.session, safe='')}", b""))
        answer: Answer = _ERROR
        if kind.apply:
            spoil = self._spoiled(request)
            answer = spoil(request) if spoil is not None else self._ask(request, sock, at)
        if kind.wait_after:
            self._wait_for_caller(sock, at, seconds)
        return answer

    # ------------------------------------------------------------------------ KATO itself

    def _ask(self, request: Request, caller: socket.socket | None = None, at: Call | None = None) -> Answer:
        """Send it, read KATO's answer to its end, and write both down. Raises KatoLost."""
        upstream = http.client.HTTPConnection(*self._upstream, timeout=self._timeout)
        try:
            try:
                upstream.connect()
            except OSError as exc:
                raise KatoLost from exc
            with self.books:
                self.journal.sent(request)
            body = request.body or None
            upstream.request(request.method, request.path, body, {"Content-Type": "application/json"})
            if caller is not None and at is not None and upstream.sock is not None:
                self._watch(upstream.sock, caller, at)
            reply = upstream.getresponse()
            found = reply.read()
        except (OSError, http.client.HTTPException) as exc:
            with self.books:
                self.journal.lost(request)
            raise KatoLost from exc
        finally:
            upstream.close()
        with self.books:
            changed = self.journal.answered(request, reply.status, found)
            if at is not None and (changed or at.gone_at is not None):
                self.journal.traffic.landed(at, applied=changed)
        kept = {n.lower(): v for n, v in reply.getheaders() if n.lower() not in OF_ONE_CONNECTION}
        return reply.status, kept, found

    def _watch(self, upstream: socket.socket, caller: socket.socket, at: Call) -> None:
        """Until KATO answers; notes when the caller goes meanwhile."""
        stop = time.monotonic() + self._timeout
        watched = [upstream, caller]
        while upstream not in (ready := select.select(watched, [], [], max(0.0, stop - time.monotonic()))[0]):
            if not ready:
                raise TimeoutError
            watched = [upstream]
            self._note_gone(caller, at)

    def _wait_for_caller(self, caller: socket.socket, at: Call, seconds: float) -> None:
        """The time passes all the same; notes when the caller goes meanwhile."""
        stop = time.monotonic() + seconds
        if select.select([caller], [], [], seconds)[0]:
            self._note_gone(caller, at)
            time.sleep(max(0.0, stop - time.monotonic()))

    def _note_gone(self, caller: socket.socket, at: Call) -> None:
        # Else it sends its next request already.
        if has_gone(caller):
            with self.books:
                self.journal.traffic.leave(at)

    # --------------------------------------------------------------------------- sabotage

    def _spoiled(self, request: Request) -> Callable[[Request], Answer] | None:
        """What to do in the place of the call, unseen by its caller."""
        with self.books:
            for kind in self.sabotage:
                if kind == "learned" and request.action == "learn" and self.journal.sessions[request.session].stm:
                    self.sabotage.remove(kind)
                    return self._learn_twice
                if kind != "learned" and len(request.observations) > 1:
                    self.sabotage.remove(kind)
                    return {"twice": self._send_twice, "dropped": self._drop_last, "swapped": self._swap}[kind]
        return None

    def _send_twice(self, request: Request) -> Answer:
        first = self._ask(request)
        self._ask(request)
        return first

    def _drop_last(self, request: Request) -> Answer:
        body = request.json
        gone = body["observations"].pop()
        status, headers, raw = self._ask(Request(request.method, request.path, json.dumps(body).encode()))
        answer = json.loads(raw)
        last = answer["results"][-1]
        more = {"sequence_position": len(answer["results"]), "unique_id": gone.get("unique_id")}
        more |= {name: last[name] + 1 for name in ("stm_length", "time")}
        answer["results"].append(last | more)
        answer["observations_processed"] += 1
        answer["final_stm_length"] += 1
        return status, headers, json.dumps(answer).encode()

    def _swap(self, request: Request) -> Answer:
        body = request.json
        body["observations"].reverse()
        status, headers, raw = self._ask(Request(request.method, request.path, json.dumps(body).encode()))
        answer = json.loads(raw)
        for result, unique_id in zip(answer["results"], request.ids, strict=True):
            result["unique_id"] = unique_id
        return status, headers, json.dumps(answer).encode()

    def _learn_twice(self, request: Request) -> Answer:
        known = self.journal.sessions[request.session]
        seen = [{"strings": event} for event in known.stm]
        made = json.loads(self._ask(_post("/sessions", {"node_id": known.node.key}))[2])["session_id"]
        self._ask(_post(f"/sessions/{made}/observe-sequence", {"observations": seen}))
        self._ask(_post(f"/sessions/{made}/learn", {}))
        return self._ask(request)

    # -------------------------------------------------------------------- what it answers itself

    def _tell(self, call: Received) -> tuple[int, Any]:
        at = urlsplit(call.path)
        name, _, rest = at.path.removeprefix("/_embedded/").partition("/")
        request = Request(call.method, f"/{rest}", call.body)
        match call.method, name:
            case "GET", "stats":
                with self.books:
                    return 200, self._stats()
            case "GET", "sessions":
                return self._session(request.parts[0])
            case "GET", "patterns":
                return 200, self._patterns(parse_qs(at.query)["node"][0])
            case "POST", "faults":
                with self.books:
                    self.faults.set(request.json, NAMES)
                    assert {rule.kind for rule in self.faults.rules} <= PLAYED, self.faults.rules
                return 200, {}
            case "DELETE", "faults":
                with self.books:
                    self.faults.clear()
                return 200, {}
            case "POST", "sabotage":
                with self.books:
                    self.sabotage = list(request.json["kinds"])
                    assert set(self.sabotage) <= SABOTAGE, self.sabotage
                return 200, {}
        return 404, {"detail": "Not Found"}

    def _stats(self) -> Json:
        journal, traffic = self.journal, self.journal.traffic
        return {
            "overlaps": traffic.overlaps,
            "overlapped": list(traffic.overlapped),
            "late_landings": traffic.late_landings,
            "late_refused": traffic.late_refused,
            "in_flight": traffic.in_flight,
            "max_in_flight": traffic.max_in_flight,
            **{name: journal.done[name] for name in ("observes", "learns", "predictions")},
            "sessions_created": len(journal.sessions),
            "requests": dict(journal.requests),
            "faults": dict(self.faults.counts),
            "never_answered": len(journal.unanswered),
            "spoiled": sorted(self.sabotage),
        }

    def _session(self, session_id: str) -> tuple[int, Any]:
        """As KATO has it now, and what it was sent."""
        status, _, body = self._ask(Request("GET", f"/sessions/{quote(session_id, safe='')}/cognition-data", b""))
        known = self.journal.sessions.get(session_id)
        if known is None:
            return 404, {"detail": "Not Found"}
        seen = json.loads(body)["cognition_data"] if status == 200 else {}
        with self.books:
            return 200, {
                "node": known.node.key,
                "time": seen.get("time"),
                "stm": seen.get("short_term_memory"),
                "applied": list(known.applied),
                "alive": status == 200,
            }

    def _patterns(self, node_id: str) -> Json:
        """Of all names that were seen in connection with a node: those that KATO has."""
        shown = {}
        with self.books:
            names = sorted(self.journal.names.get(sanitised(node_id), ()))
        for name in names:
            path = f"/pattern/{quote(name, safe='')}?node_id={quote(node_id, safe='')}"
            found = json.loads(self._ask(Request("GET", path, b""))[2])["pattern"]
            if found["status"] == "okay":
                pattern = found["pattern"]
                shown[name] = {"frequency": pattern["frequency"], "data": pattern["pattern_data"]}
        return shown


def _post(path: str, body: Json) -> Request:
    return Request("POST", path, json.dumps(body).encode())


def _gone(session_id: str) -> Answer:
    message = f"Session {session_id} not found or expired"
    body = {"error": {"code": "SESSION_NOT_FOUND", "message": message, "session_id": session_id}}
    return 404, {"content-type": "application/json", "server": "uvicorn"}, json.dumps(body).encode()


def serve(upstream: str, seed: int, calls: Connection) -> None:
    """For a process of its own, see `tests.chaos.gateway`: it is asked over HTTP, and ends when the pipe is closed."""
    # Ctrl-C is for the run, which then stops this.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Recorder(upstream, seed=seed) as recorder, contextlib.suppress(EOFError, OSError):
        calls.send(recorder.url)
        while True:
            calls.recv()
