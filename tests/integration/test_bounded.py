"""Nothing grows and nothing blocks forever: results, predicts, and a store that is full, with real workers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from kato_tasks import append_events, observe, predict, session_status
from kato_tasks.errors import EventRefused, StoreFull, TooManyPredicts
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.recovering import QUICK, THREADS, a_system, observation
from tests.integration.system import System, drained

ONE = ["--pool", "solo"]


@pytest.fixture(scope="module")
def system(redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    more = {"predict_patience_seconds": "1", "max_waiting_predicts": "3"}
    with a_system(redis_server, tmp_path_factory.mktemp("bounded"), kato, **more) as system:
        yield system


def results(system: System) -> list[str]:
    return [str(key) for key in system.redis.scan_iter("kt:*:r:*")]


def test_a_prediction_leaves_the_store_once_its_caller_was_told(system: System) -> None:
    """Falls without LaneTask.after_return: each would lie there for minutes."""
    system.empty()
    words = [f"word {i} {'x' * 200}" for i in range(12)]
    append_events([observation("a", f"e{i}", word) for i, word in enumerate(words)])
    append_events([{"session_id": "a", "event_type": "learn"}, observation("a", "again", words[0])])
    with system.workers(ONE):
        drained(["a"])
        for _ in range(5):
            answer = predict.delay("a").get(timeout=20)
            assert len(str(answer["predictions"])) > 1_000
        observe.delay("a", {"strings": ["x"]}).get(timeout=20)  # the store hears of the last one with the next claim
    left = {key: system.redis.strlen(key) for key in results(system)}
    assert max(left.values(), default=0) < 1_000


def test_a_predict_that_kato_fails_is_refused_and_the_events_behind_it_go_on(system: System) -> None:
    """Invariant 5: ClickHouse is down, and KATO takes observations all the same."""
    system.empty()
    append_events([observation("a", f"e{i}", f"w{i}") for i in range(3)])
    with system.workers(THREADS):
        drained(["a"])
        system.faults({"kind": "clickhouse_down", "route": "predictions"})
        asked = predict.delay("a")
        behind = observe.delay("a", {"strings": ["behind"]})
        begun = time.monotonic()
        assert behind.get(timeout=30)["position"] == 4
        assert time.monotonic() - begun < 15
        with pytest.raises(EventRefused, match="predict failed"):
            asked.get(timeout=30)
        system.faults()


def test_a_predict_that_has_expired_is_refused_and_kato_is_not_asked(system: System) -> None:
    system.empty()
    append_events([observation("a", f"e{i}", f"w{i}") for i in range(3)])
    predict.apply_async(("a",), expires=0.2)
    time.sleep(0.3)  # its time passes while no worker is there
    append_events([observation("a", "e4", "behind")])
    with system.workers(ONE):
        drained(["a"])
        wait_until(lambda: not list(system.redis.scan_iter("kt:*:asks:*")), 20, "the predict is answered")
    assert "predictions" not in {route for route, n in system.ask("stats")["requests"].items() if n}


def test_so_many_predicts_of_a_session_wait_and_the_next_one_is_told(system: System) -> None:
    system.empty()
    append_events([observation("a", "e1", "w")])
    for _ in range(3):
        predict.delay("a")
    with pytest.raises(TooManyPredicts, match="MAX_WAITING_PREDICTS"):
        predict.delay("a")
    assert session_status("a") is not None


@pytest.mark.timeout(300)
def test_a_store_that_is_full_refuses_events_is_emptied_and_accepts_again(
    redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Invariants 4 and 7: what was accepted is applied, in a store that Redis itself calls full."""
    scratch = tmp_path_factory.mktemp("full")
    store = RedisServer(scratch / "store", "--maxmemory", "12mb")
    backend = redis_server.url.removesuffix("/0") + "/1"
    with contextlib.ExitStack() as exits:
        exits.callback(store.stop)
        store.start()
        system = System(redis_server, store, kato, scratch, **{**QUICK, "result_backend": backend})
        exits.enter_context(system.here())
        system.empty()
        kato.kill()
        exits.callback(kato.start)
        sent: list[Any] = []

        def parked() -> int:
            return sum(system.redis.hlen(key) for key in system.redis.scan_iter("kt:*:w:*"))

        with system.workers(THREADS):
            with contextlib.suppress(StoreFull):
                while len(sent) < 2_000:
                    seen = {"strings": ["x"], "metadata": {"much": "m" * 30_000}}
                    sent.append(observe.delay(f"s{len(sent) % 20}", seen))
                    if len(sent) % 20 == 0:
                        wait_until(lambda: parked() == len(sent), 60, "all of them wait", every=0.05)
            assert 100 < len(sent) < 2_000
            really_full(system)
            kato.start()
            for one in sent:
                assert one.get(timeout=120)["status"] in ("okay", "applied")
            system.redis.config_set("maxmemory", 12 * 1024 * 1024)
            wait_until(accepted, 30, "there is room again")


def really_full(system: System) -> None:
    """From now on Redis refuses whatever may take memory, until the limit is lifted."""
    used = int(system.redis.info("memory")["used_memory"])
    system.redis.config_set("maxmemory", used - 100_000)
    with pytest.raises(redis.ResponseError, match="maxmemory"):
        system.redis.set("more", "x")


def accepted() -> bool:
    try:
        observe.delay("s1", {"strings": ["there is room"]})
    except StoreFull:
        return False
    return True
