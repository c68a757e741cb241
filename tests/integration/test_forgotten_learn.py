"""A learn that is under way in KATO while the store fails over to a replica that knows neither its intent nor lease.

The store is a real Redis, which goes back to an earlier dump; KATO is the embedded one without its HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from kato_tasks import ports
from kato_tasks.adapters.redis.store import connect
from kato_tasks.domain.stm import pattern_name
from kato_tasks.testing.services import RedisServer
from tests.integration.model import Lane, ModelKato, WorkerDied

NAME = pattern_name([["a"], ["b"]])


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    redis_server.start()
    with connect(redis_server.url.removesuffix("/0") + "/9") as client:
        client.flushdb()
        yield client


class SlowLearn(ModelKato):
    """Its next learn after `slow` is set is under way for long; its caller never hears of it.

    ``reads_late``: the request is still on its way, so it finds of its session what is there when it arrives. KATO
    reads the session first, and so a learn that runs already counts even if the session is deleted meanwhile.
    """

    def __init__(self) -> None:
        super().__init__({})
        self.slow = False
        self.reads_late = False
        self.lands_at = 0
        self._under_way: ports.KatoRequest | None = None
        self._session = ""

    def answer(self, request: ports.KatoRequest) -> ports.KatoReply:
        if request.route == "learn" and self.slow:
            self.slow, self._under_way = False, request
            self._read = self.session(request.path.split("/")[2])
            raise WorkerDied
        if self._under_way is not None and self.lands_at and self.calls >= self.lands_at:
            self.arrive()
        return super().answer(request)

    def arrive(self) -> None:
        """The learn ends inside KATO."""
        request, self._under_way = self._under_way, None
        if request is None:
            return
        self.log.append("(the forgotten learn)")
        if self.reads_late:
            super().answer(request)
        else:
            assert self._read is not None
            self.kato.brain.learn(self._read)


def event(session: str, number: int, kind: str, *strings: str) -> dict[str, object]:
    base = {"session_id": session, "event_id": f"{session}{number}", "event_type": kind}
    return base | ({"observation": {"strings": list(strings)}} if kind == "observation" else {})


@pytest.mark.parametrize("lands_after", range(9))
@pytest.mark.parametrize("known", [0, 2], ids=["a new pattern", "a known pattern"])
@pytest.mark.parametrize("reads_late", [False, True], ids=["it runs", "it is on its way"])
@pytest.mark.parametrize("forgets", ["the learn", "the last observation too"])
def test_a_learn_in_flight_across_a_failover_that_forgot_its_intent_counts_once_or_is_counted_as_in_doubt(
    client: redis.Redis, lands_after: int, known: int, reads_late: bool, forgets: str
) -> None:
    kato = SlowLearn()
    lane = Lane(client, kato, {}, pieces=1, batch=ports.Batch(1, 1_000_000))
    kato.reads_late = reads_late
    for number in range(known):
        session = f"before{number}"
        lane.append(
            [event(session, 1, "observation", "a"), event(session, 2, "observation", "b"), event(session, 3, "learn")]
        )
    lane.drained()
    assert lane.frequencies().get(NAME, 0) == known
    lane.append([event("s", 1, "observation", "a"), event("s", 2, "observation", "b"), event("s", 3, "learn")])
    dumps = []
    while lane.state()["s"]["cur"] != "2":
        dumps.append(lane.dump())
        lane.one_worker()
    kept = lane.dump() if forgets == "the learn" else dumps[-1]
    kato.slow = True
    lane.one_worker()
    assert not kato.slow, "the learn is under way"
    lane.restore(kept)
    lane.run = lambda: "another run"
    kato.lands_at = kato.calls + lands_after

    # KATO_SETTLE_SECONDS says how long after a DELETE it may still land: the turn that comes after finds it landed.
    for _ in range(50):
        lane.one_worker()
        if lane.open_intents() or lane.state()["s"]["cur"] == "3":
            break
    kato.arrive()
    lane.drained()

    doubt = lane.stats().get("learns_in_doubt", 0) + lane.stats().get("learns_unknown", 0)
    counted = lane.frequencies()[NAME]
    assert known + 1 <= counted <= known + 1 + doubt, kato.log
    assert lane.frequencies().keys() == {NAME}, "and nothing else was learned"
    assert lane.client.hlen(f"{lane.prefix}dead") == 0
    if not known and lands_after > 5:
        assert (counted, doubt) == (1, 0), "once its frequency was read before it landed, it is settled exactly"
