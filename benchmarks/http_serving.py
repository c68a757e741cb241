"""What events over HTTP cost beside an empty route, and batches beside ``append_events``, in one run.

    python -m benchmarks.http_serving [--seconds N] [--rounds N] [--json FILE]

wrk (Debian's package ``wrk``) is the load: one thread with 32 connections beside one server process, on the machine's
cores. Every round measures every variant once, in turns; medians of the rounds. The empty route is FastAPI's, served by
uvicorn with uvloop and httptools as ours is, takes the same body and reads nothing of it. No worker runs: what is
measured is the way into the store. Each event is new, in one of 500 sessions for each run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import uvloop

from kato_tasks import append_events
from kato_tasks.testing.services import KatoServer, RedisServer, free_port
from kato_tasks.testing.waiting import wait_until
from tests.integration.http.server import HttpServer
from tests.integration.system import System

BATCH = 500
CONNECTIONS = 32
SCRIPT = """
local run, path, size, n = os.getenv("RUN"), os.getenv("PLACE"), tonumber(os.getenv("SIZE")), 0
request = function()
  local events = {}
  for i = 1, size do
    n = n + 1
    events[i] = '{"session_id":"' .. run .. ' ' .. (n % 500) .. '","event_id":"' .. run .. ' ' .. n
      .. '","observation":{"strings":["cart","opened"]}}'
  end
  local body = events[1]
  if size > 1 then body = '[' .. table.concat(events, ',') .. ']' end
  return wrk.format("POST", path, {["content-type"] = "application/json"}, body)
end
done = function(summary, latency, requests)
  io.write(string.format("RESULT %d %d %d %d %f %f\\n", summary.requests, summary.duration, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
"""
EMPTY = """
import sys
import uvicorn
from fastapi import FastAPI
app = FastAPI()

@app.post("/empty")
async def empty() -> dict[str, str]:
    return {}

uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", log_level="warning", access_log=False)
"""
HEAD = b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
Json = dict[str, Any]


def wrk(url: str, path: str, script: Path, *, seconds: float, size: int = 1, connections: int = CONNECTIONS) -> Json:
    environment = {"RUN": uuid.uuid4().hex[:8], "PLACE": path, "SIZE": str(size)}
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(script), url]
    text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) ([\d.]+) ([\d.]+)", text)
    assert found is not None, text
    requests, micros, refused, broken = map(int, found.groups()[:4])
    assert (refused, broken) == (0, 0), text
    return {"per_second": requests * size / (micros / 1e6), "p50_ms": float(found[5]), "p99_ms": float(found[6])}


def in_python(seconds: float) -> Json:
    """`append_events` of the same events in batches of the same size, from one process."""
    run, number, began = uuid.uuid4().hex[:8], 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        batch = [
            {
                "session_id": f"{run} {i % 500}",
                "event_id": f"{run} {i}",
                "observation": {"strings": ["cart", "opened"]},
            }
            for i in range(number, number + BATCH)
        ]
        append_events(batch)
        number += BATCH
    return {"per_second": number / (time.perf_counter() - began)}


class _Client(asyncio.Protocol):
    """One connection that sends events when they are due, and notes how late each answer comes."""

    def __init__(self, numbers: Iterator[int], run: str, began: float, rate: float, waits: list[float]) -> None:
        self._numbers, self._run, self._began, self._rate, self._waits = numbers, run, began, rate, waits
        self._due = 0.0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        # An answer of a single event comes whole.
        assert data.startswith(b"HTTP/1.1 202") and data.endswith(b"}"), data  # noqa: PT018
        self._waits.append((time.perf_counter() - self._due) * 1000)
        self._next()

    def _next(self) -> None:
        number = next(self._numbers, None)
        if number is None:
            self._transport.close()
            self.ended.set_result(None)
            return
        self._due = self._began + number / self._rate
        body = b'{"session_id":"%b %d","event_id":"%b %d","observation":{"strings":["cart","opened"]}}'
        body %= (self._run.encode(), number % 500, self._run.encode(), number)
        early = self._due - time.perf_counter()
        if early > 0:
            asyncio.get_running_loop().call_later(early, self._transport.write, HEAD % len(body) + body)
        else:
            self._transport.write(HEAD % len(body) + body)


async def at_rate(port: int, rate: float, seconds: float) -> Json:
    """Single events at a fixed rate over 32 connections, by a client that does nothing else.

    Each is timed from when it was due, so that a stall counts for all that it delays.
    """
    numbers, waits = iter(range(int(rate * seconds))), list[float]()
    began, loop, run = time.perf_counter() + 0.1, asyncio.get_running_loop(), uuid.uuid4().hex[:8]
    clients = [
        (await loop.create_connection(lambda: _Client(numbers, run, began, rate, waits), "127.0.0.1", port))[1]
        for _ in range(CONNECTIONS)
    ]
    await asyncio.gather(*(client.ended for client in clients))
    waits.sort()
    took = time.perf_counter() - began
    found = {"p50_ms": waits[len(waits) // 2], "p99_ms": waits[int(len(waits) * 0.99)], "per_second": len(waits) / took}
    return {"asked_per_second": rate, **found}


@contextmanager
def empty_server(directory: Path) -> Iterator[str]:
    program, port = directory / "empty.py", free_port()
    program.write_text(EMPTY)
    with subprocess.Popen([sys.executable, str(program), str(port)]) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: _answers(url), 20, "the empty server answers")
            yield url
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.post(f"{url}/empty", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def measure(seconds: float, rounds: int) -> Json:
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        directory = Path(scratch)
        script = directory / "load.lua"
        script.write_text(SCRIPT)
        store, kato = RedisServer(directory / "redis"), KatoServer(directory / "kato")
        for service in (store, kato):
            stack.callback(service.stop)
            service.start()
        system = System(store, store, kato, directory, shards="16")
        stack.enter_context(system.here())
        server = HttpServer(directory / "server", system.environment)
        stack.callback(server.stop)
        server.start()
        empty = stack.enter_context(empty_server(directory))
        variants: dict[str, Callable[[], Json]] = {
            "empty route": lambda: wrk(empty, "/empty", script, seconds=seconds),
            "one event": lambda: wrk(server.url, "/v1/events", script, seconds=seconds),
            "batches of 500": lambda: wrk(server.url, "/v1/events", script, seconds=seconds, size=BATCH, connections=4),
            "append_events, batches of 500": lambda: in_python(seconds),
        }
        runs: dict[str, list[Json]] = {name: [] for name in variants}
        for name in [*variants, *list(variants) * rounds]:
            runs[name].append(variants[name]())
            system.empty()
        for found in runs.values():
            del found[0]  # each variant's first run warms up what it runs on
        single = median(one["per_second"] for one in runs["one event"])
        halves = [uvloop.run(at_rate(server.port, single / 2, seconds)) for _ in range(rounds)]
        return {"runs": runs, "at half load": sorted(halves, key=lambda one: float(one["p99_ms"]))[rounds // 2]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed; Debian and Ubuntu have it as the package wrk")
    found = measure(arguments.seconds, arguments.rounds)
    rates = {name: median(one["per_second"] for one in runs) for name, runs in found["runs"].items()}
    for name, rate in rates.items():
        print(f"{name:32} {rate:10,.0f} per second   {[round(one['per_second']) for one in found['runs'][name]]}")
    shares = {
        "one event / empty route": rates["one event"] / rates["empty route"],
        "batches / append_events": rates["batches of 500"] / rates["append_events, batches of 500"],
    }
    for name, share in shares.items():
        print(f"{name:32} {share:10.0%}")
    print(f"at half load: {found['at half load']}")
    if arguments.json:
        about = {"python": platform.python_version(), "cores": 2, "rates": rates, "shares": shares}
        arguments.json.write_text(json.dumps({**about, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
