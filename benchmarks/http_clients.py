"""Why this project has an HTTP client of its own: three clients against the embedded KATO, same request.

    python -m benchmarks.http_clients [--requests N] [--json]

The request is what a drain sends most: observe-sequence with four observations. Requests per second, and CPU time of
the client's process per request (the server's is another process). Up to 16 requests are under way where a client
can do that.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice

import httpcore
import httpx

from benchmarks.stack import stack
from kato_tasks.adapters.kato_http.pool import HttpKato
from kato_tasks.ports.kato import KatoRequest

IN_FLIGHT = 16
BODY = json.dumps(
    {
        "observations": [
            {"strings": [f"n{n:05d}", "page:dashboard"], "vectors": [], "emotives": {"sentiment": 0.8}, "metadata": {}}
            for n in range(4)
        ],
        "learn_after_each": False,
        "learn_at_end": False,
    }
).encode()
TYPED = {"content-type": "application/json"}
HEADERS: list[tuple[bytes | str, bytes | str]] = [("content-type", "application/json")]
Client = Callable[[str, Sequence[str]], None]


@dataclass(frozen=True, slots=True)
class Cost:
    client: str
    requests: int
    per_second: float
    cpu_us: float


def httpx_sync(url: str, paths: Sequence[str]) -> None:
    with httpx.Client(base_url=url, timeout=30) as client:
        for path in paths:
            client.post(path, content=BODY, headers=TYPED).raise_for_status()


def httpcore_threads(url: str, paths: Sequence[str]) -> None:
    """httpx's own engine on as many threads as connections: what comes nearest without writing a client."""
    with httpcore.ConnectionPool(max_connections=IN_FLIGHT) as pool:
        _on_threads(paths, lambda path: _posted(pool, url + path))


def httpx_threads(url: str, paths: Sequence[str]) -> None:
    with httpx.Client(base_url=url, timeout=30, limits=httpx.Limits(max_connections=IN_FLIGHT)) as client:
        _on_threads(paths, lambda path: client.post(path, content=BODY, headers=TYPED).raise_for_status())


def _posted(pool: httpcore.ConnectionPool, url: str) -> None:
    answer = pool.request("POST", url, content=BODY, headers=HEADERS)
    if answer.status != 200:
        raise RuntimeError(f"KATO answered {answer.status}")


def _on_threads(paths: Sequence[str], post: Callable[[str], object]) -> None:
    failed: list[Exception] = []

    def run(share: Sequence[str]) -> None:
        try:
            for path in share:
                post(path)
        except Exception as exc:
            failed.append(exc)

    threads = [threading.Thread(target=run, args=(paths[start::IN_FLIGHT],)) for start in range(IN_FLIGHT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def ours(url: str, paths: Sequence[str]) -> None:
    """The client of kato_tasks.adapters.kato_http: one thread, a selector, httptools' parser."""
    kato = HttpKato(connections=IN_FLIGHT)
    calls = kato.calls()
    waiting = iter(paths)

    def begin(count: int) -> None:
        for path in islice(waiting, count):
            calls.begin(KatoRequest(url, "POST", path, "observe-sequence", BODY), None)

    begin(IN_FLIGHT)
    while len(calls):
        for _, reply, error in calls.wait():
            if error is not None:
                raise error
            assert reply is not None
            assert reply.status == 200, reply.body
            begin(1)
    calls.close()
    kato.close()


CLIENTS: dict[str, Client] = {
    "httpx, one thread": httpx_sync,
    f"httpx, {IN_FLIGHT} threads": httpx_threads,
    f"httpcore, {IN_FLIGHT} threads": httpcore_threads,
    f"ours, one thread, {IN_FLIGHT} calls": ours,
}


def measure(requests: int, repeat: int) -> list[Cost]:
    """Each client in turn, ``repeat`` times; the fastest run of each stands (noise only ever slows)."""
    best: dict[str, Cost] = {}
    with stack() as bench:
        sessions = [bench.kato.create(f"client-{number}") for number in range(64)]
        paths = [f"/sessions/{sessions[n % len(sessions)]}/observe-sequence" for n in range(requests)]
        for _ in range(repeat):
            for name, client in CLIENTS.items():
                client(bench.kato_url, paths[:200])
                before = bench.kato.stats()["observes"]
                cpu, wall = time.process_time(), time.perf_counter()
                client(bench.kato_url, paths)
                cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
                assert bench.kato.stats()["observes"] - before == 4 * requests, f"{name}: not everything arrived"
                cost = Cost(name, requests, requests / wall, cpu / requests * 1e6)
                if name not in best or cost.per_second > best[name].per_second:
                    best[name] = cost
    return list(best.values())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http_clients")
    parser.add_argument("--requests", type=int, default=4_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    given = parser.parse_args()
    costs = measure(given.requests, given.repeat)
    if given.json:
        print(json.dumps([asdict(cost) for cost in costs], indent=1))
        return 0
    print(f"{'client':30} {'requests/s':>11} {'CPU us each':>12}")
    for cost in costs:
        print(f"{cost.client:30} {cost.per_second:>11,.0f} {cost.cpu_us:>12,.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
