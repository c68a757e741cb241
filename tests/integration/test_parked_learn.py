"""A session is parked by hand while its learn is unsettled; others of its node learn the same pattern."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from kato_tasks import ports
from kato_tasks.adapters.redis.store import connect
from kato_tasks.domain.stm import pattern_name
from kato_tasks.testing.services import RedisServer
from tests.integration.model import Lane, ModelKato
from tests.integration.system import Json

NAME = pattern_name([["a"], ["b"]])


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    redis_server.start()
    with connect(redis_server.url.removesuffix("/0") + "/9") as client:
        client.flushdb()
        yield client


def learning(session: str) -> list[Json]:
    named = {"session_id": session}
    observation = {**named, "event_type": "observation"}
    seen = [{**observation, "event_id": f"{session}{word}", "observation": {"strings": [word]}} for word in "ab"]
    return [*seen, {**named, "event_id": f"{session}learn", "event_type": "learn"}]


class UnknownLearn(ModelKato):
    """The outcome of its first learn stays unknown."""

    def __init__(self, fault: str) -> None:
        super().__init__({})
        self._fault = fault

    def answer(self, request: ports.KatoRequest) -> ports.KatoReply:
        if request.route == "learn" and self._fault:
            self.faults, self._fault = {self.calls + 1: self._fault}, ""
        return super().answer(request)


@pytest.mark.parametrize("fault", ["lost_before", "lost_after", "gateway_before", "gateway_after"])
def test_a_session_that_is_parked_while_its_learn_is_unsettled_holds_up_no_other(
    client: redis.Redis, fault: str
) -> None:
    lane = Lane(client, UnknownLearn(fault), {}, pieces=1)
    lane.append(learning("parked by hand"))
    for _ in range(20):
        if any("settle" in str(intent) for intent in lane.open_intents().values()):
            break
        lane.one_worker()
    assert lane.store.execute([ports.ParkByHand(lane.lane, "parked by hand", "{}")]) == [True]
    for other in ("B", "C"):
        lane.append(learning(other))
        lane.drained()
        assert lane.state()[other]["cur"] == "3", "it waited for nobody"
    lane.store.execute([ports.Resume(lane.lane, "parked by hand")])
    lane.drained()
    assert lane.state()["parked by hand"]["cur"] == "3"
    assert lane.open_intents() == {}
    doubt = lane.stats().get("learns_in_doubt", 0) + lane.stats().get("learns_unknown", 0)
    assert doubt >= 1, "said, since the frequency cannot tell the learns apart"
    assert abs(lane.frequencies()[NAME] - 3) <= doubt, lane.kato.log
