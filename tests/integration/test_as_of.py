"""At random positions of the real help-desk log a replay as of then has the STM and the predictions that were live.

The log's first events are replayed; `HELPDESK_EVENTS=21348 pytest tests/integration/test_as_of.py` takes all of it.
"""

from __future__ import annotations

import csv
import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kato_tasks import append_events, predict
from kato_tasks.adapters.sql.schema import open_schema
from kato_tasks.api.replays.calls import replay_status, start_replay
from kato_tasks.bootstrap import runtime
from kato_tasks.domain.replays import ENDED, ReplayRequest, ReplayStatus
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.system import CHECKOUT, System, drained
from tests.services import unreachable

HELPDESK = Path(CHECKOUT).parent / "shared" / "data" / "helpdesk.csv"
EVENTS = int(os.environ.get("HELPDESK_EVENTS", "700"))
POSITIONS = 10
MOST_PREDICTIONS = 10_000
"""More than there are patterns. Of patterns that fit equally KATO leaves out those that came later, and in which order
sessions of a node learn is not fixed."""
WORKER = ["--pool", "threads", "--concurrency", "4"]
Json = dict[str, Any]


@pytest.fixture
def system(
    redis_url: str, redis_server: RedisServer, kato: KatoServer, postgres_url: str, tmp_path: Path
) -> Iterator[System]:
    with closing(open_schema(postgres_url)) as schema:
        schema.upgrade()
    config = json.dumps({"max_predictions": MOST_PREDICTIONS})
    system = System(
        redis_server,
        redis_server,
        kato,
        tmp_path,
        sweep_seconds="0.2",
        archive_url=postgres_url,
        kato_session_config=config,
    )
    with system.here():
        yield system


def story() -> list[Json]:
    """The log's first events in its own order; a case is learned after its last one."""
    with HELPDESK.open(encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))[:EVENTS]
    last = {row["case_id"]: number for number, row in enumerate(rows)}
    events: list[Json] = []
    for number, row in enumerate(rows):
        seen = {"strings": [row["activity"], f"by {row['resource']}"]}
        one: Json = {"session_id": row["case_id"], "node_id": "help desk", "timestamp": row["timestamp"]}
        events.append({**one, "event_id": f"row {number}", "observation": seen})
        if last[row["case_id"]] == number:
            events.append({**one, "event_id": f"learn {number}", "event_type": "learn"})
    return events


def told(answer: Any) -> list[str]:
    """What KATO predicts, in full. It adds floats up in the order in which the patterns were learned."""
    assert len(answer["predictions"]) < MOST_PREDICTIONS
    rows = [
        {name: round(value, 9) if isinstance(value, float) else value for name, value in one.items()}
        for one in answer["predictions"]
    ]
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


def ended(replay_id: str) -> ReplayStatus:
    wait_until(lambda: replay_status(runtime(), replay_id).state in ENDED, 1_200, "the replay ends", every=0.1)
    return replay_status(runtime(), replay_id)


@pytest.mark.heavy
@pytest.mark.timeout(3_600)
def test_as_of_random_positions_of_the_real_log_kato_holds_and_predicts_what_it_did_then(system: System) -> None:
    if not HELPDESK.exists():
        unreachable("../shared/data/helpdesk.csv")
    system.empty()
    events = story()
    rng = random.Random(20261129)
    seen = [place for place, event in enumerate(events) if "observation" in event]
    chosen = sorted(rng.sample(seen[len(seen) // 20 :], POSITIONS))
    live: dict[int, tuple[str, int, list[list[str]], list[str]]] = {}
    counts: Counter[str] = Counter()
    with system.workers(WORKER):
        begin = 0
        for place in chosen:
            some, begin = events[begin : place + 1], place + 1
            counts.update(event["session_id"] for event in some)
            for part in (some[:-1], some[-1:]):  # sessions take turns, and this event is to be the last one of all
                append_events(part)
                drained(list({event["session_id"] for event in part}), 1_200)
            session = events[place]["session_id"]
            predicted = told(predict.delay(session).get(timeout=60))
            live[place] = (session, counts[session], system.stm(session), predicted)
        append_events(events[begin:])
        drained(list({event["session_id"] for event in events}), 1_200)
        for session, position, stm, predicted in live.values():
            begun = start_replay(runtime(), ReplayRequest("as_of", session_id=session, position=position))
            status = ended(begun.id)
            assert (status.state, status.reason) == ("done", ""), status
            shadow = status.sessions[session]
            assert system.stm(shadow) == stm, (session, position)
            assert told(predict.delay(shadow).get(timeout=60)) == predicted, (session, position)
    assert any(predicted for *_, predicted in live.values()), "some of them had predictions"
