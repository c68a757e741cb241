"""`kato-tasks listen`, and how listeners and the messages that they refused are shown, checked and mended."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import pytest
import redis

from kato_tasks.adapters.redis.keys import SIGNS
from kato_tasks.api.signs import AboutListener, give_listener_sign
from kato_tasks.bootstrap import Runtime
from kato_tasks.http_server.metrics import Metrics
from kato_tasks.testing.waiting import wait_until
from tests.integration.cli.running import Cli, databases

STREAM = "kato:observations"


@pytest.fixture
def streams(cli: Cli, redis_url: str) -> redis.Redis:
    """The Redis of the streams that the command line's listener reads."""
    cli.settings["STREAMS_URL"] = databases(redis_url)["STORE_URL"].rpartition("/")[0] + "/5"
    return redis.Redis.from_url(cli.settings["STREAMS_URL"], decode_responses=True)


def observed(session: str, *strings: str) -> dict[str, str]:
    return {"session_id": session, "observation": json.dumps({"strings": list(strings)})}


def test_it_reads_what_waits_and_ends_when_nothing_comes_any_more(
    cli: Cli, streams: redis.Redis, live: Runtime
) -> None:
    streams.xadd(STREAM, observed("ann", "home"))  # type: ignore[arg-type]
    ran = cli("listen", "redis", "--until-idle", "0.3", STREAMS_URL=cli.settings["STREAMS_URL"])
    assert ran.code == 0, ran.err
    assert "listening to redis kato:observations" in ran.err
    assert "read=1 appended=1 duplicates=0 dead_letters=0" in ran.err
    shown = cli("sessions", "events", "ann", "--json").json
    assert shown["observation"]["strings"] == ["home"]
    assert cli("status", "--json").json["listeners"] == []


def test_sigterm_ends_it_in_order_and_json_logs_name_their_events(cli: Cli, streams: redis.Redis) -> None:
    process = cli.start("listen", "redis", LOG_FORMAT="json")
    try:
        name = f"{SIGNS['listener']}about"
        store = redis.Redis.from_url(cli.settings["STORE_URL"], decode_responses=True)
        wait_until(lambda: store.hlen(name), 20, "it gives a sign of life")
        streams.xadd(STREAM, observed("ann", "home"))  # type: ignore[arg-type]
        wait_until(lambda: streams.xinfo_groups(STREAM)[0]["pending"] == 0, 10, "it is acknowledged")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    rows = [json.loads(line) for line in err.decode().splitlines() if line.startswith("{")]
    assert {row["event"] for row in rows} >= {"listener.state", "listener.ended"}
    assert store.hlen(name) == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("redis", "--decoder", "nowhere:decode"), 2, "nowhere:decode cannot be loaded: No module named 'nowhere'"),
        (("redis", "--decoder", "json"), 2, "'json' names no function; write module:function"),
        (("redis", "--predictions-to", "mqtt:x"), 2, "'mqtt:x' names nothing that can be sent to"),
        (
            ("redis", "--predict", "often", "--predictions-to", "redis:x"),
            2,
            "is none of every, last, asked, or a number",
        ),
        (("redis", "--encoder", "json:dumps"), 2, "say something of --predictions-to, which is missing"),
        (("redis", "--streams-url", "http://x"), 2, "is not the address of a Redis"),
        (("kafka", "--property", "sasl.username"), 2, "'sasl.username' has no value; write NAME=VALUE"),
        (("mqtt",), 2, "has no command 'mqtt'"),
    ],
)
def test_an_option_that_cannot_work_is_named_before_anything_is_read(
    cli: Cli, streams: redis.Redis, words: tuple[str, ...], code: int, said: str
) -> None:
    ran = cli("listen", *words)
    assert said in ran.err.replace("\n", " ")
    assert ran.code == code
    assert streams.keys("*") == []


def test_a_store_that_is_away_at_the_start_is_said_in_one_sentence(cli: Cli) -> None:
    ran = cli("listen", "redis", STORE_URL="redis://127.0.0.1:9/0")
    assert ran.code == 2
    assert "start Redis at redis://127.0.0.1:9/0" in ran.err


def sign(rt: Runtime, *, seconds: float = 0.0, **more: object) -> AboutListener:
    """A listener's sign of life, which is as old as that."""
    about = AboutListener(**{
        "source": "kafka clicks",
        "host": socket.gethostname(),
        "pid": 7,
        "state": "reading",
        "sink": "kafka:out",
        "read": 1_200,
        "appended": 1_100,
        "dead_letters": 2,
        "rate": 250.0,
        "lag": 40,
        "sent": 900,
        "unsent": 11,
        **more,
    })  # fmt: skip
    now = give_listener_sign(rt.store, about)
    rt.redis.zadd(f"{SIGNS['listener']}seen", {about.id: now - int(seconds * 1000)})
    return about


def test_status_shows_each_listener_with_its_rate_and_lag(cli: Cli, live: Runtime) -> None:
    sign(live)
    ran = cli("status")
    (line,) = [line for line in ran.out.splitlines() if line.startswith("listener")]
    assert "kafka clicks: reading, 1,200 read, 250/s, lag 40, 2 dead letters; 900 predictions sent to kafka:out" in line
    assert ran.code == 0


def test_status_says_which_source_nobody_reads_any_more(cli: Cli, live: Runtime) -> None:
    sign(live, seconds=60)
    ran = cli("status", "--json")
    assert ran.code == 1
    (reason,) = ran.json["reasons"]
    assert reason.startswith("nobody reads kafka clicks: its listener on ")
    sign(live, pid=8)  # another one reads it
    assert cli("status", "--json").json["reasons"] == []


def test_a_health_check_finds_a_listener_that_hangs(cli: Cli, live: Runtime) -> None:
    assert "no listener runs on this machine" in cli("health", "listener").err
    sign(live, seconds=20)
    ran = cli("health", "listener")
    assert (ran.code, "with pid 7 made its last step 20 s ago" in ran.err) == (1, True)
    assert cli("health", "listener", "--within", "60").code == 0
    assert cli("health", "listener", "--source", "rabbitmq", "--within", "60").code == 1


def test_metrics_tell_how_listeners_stand(live: Runtime) -> None:
    from kato_tasks.api.status import read_counts, read_listeners

    sign(live, pid=1)
    sign(live, pid=2, lag=2, unsent=11)
    sign(live, pid=3, seconds=60)
    sign(live, source="rabbitmq q", sink="", lag=5)
    sign(live, source="rabbitmq q", sink="", lag=5, pid=9, state="standing by")
    text = Metrics(lambda: read_counts(live), list, lambda: read_listeners(live)).text().decode()
    for line in (
        'kato_tasks_listeners{source="kafka clicks",state="gone"} 1.0',
        'kato_tasks_listeners{source="kafka clicks",state="reading"} 2.0',
        'kato_tasks_listeners{source="rabbitmq q",state="standing by"} 1.0',
        'kato_tasks_listener_messages_per_second{source="kafka clicks"} 500.0',
        'kato_tasks_listener_lag{source="kafka clicks"} 42.0',
        'kato_tasks_listener_lag{source="rabbitmq q"} 5.0',
        'kato_tasks_sink_unsent{sink="kafka:out"} 11.0',
    ):
        assert line in text


def test_a_refused_message_is_shown_and_read_again_with_another_body_or_decoder(
    cli: Cli, streams: redis.Redis, live: Runtime, tmp_path: Path
) -> None:
    streams.xadd(STREAM, {"data": '{"user": "ann"'})
    streams.xadd(STREAM, {"data": '{"user": "bob", "page": "home"}'})
    assert cli("listen", "redis", "--until-idle", "0.3", STREAMS_URL=cli.settings["STREAMS_URL"]).code == 0
    (broken,), (other,) = (
        [one for one in cli("dead-letters", "list", "--json").json if reason in one["reason"]]
        for reason in ("data: must be JSON text", "user: is not a known key")
    )
    assert broken["message"]["place"].startswith("redis kato:observations ")
    listed = cli("dead-letters", "list").out
    assert broken["id"] in listed
    mended = tmp_path / "mended.json"
    mended.write_text('{"session_id": "ann", "observation": {"strings": ["home"]}}')
    assert "position 1" in cli("dead-letters", "redrive", broken["id"], "--body", str(mended)).out
    (tmp_path / "pages.py").write_text(
        "import json\n"
        "def decode(message):\n"
        "    page = json.loads(message.json()['data'])\n"
        "    return {'session_id': page['user'], 'observation': {'strings': [page['page']]}}\n"
    )
    cli.inside = False  # a command of its own finds the module in its directory
    again = cli("dead-letters", "redrive", other["id"], "--decoder", "pages:decode")
    assert again.code == 0, again.err
    assert cli("dead-letters", "list", "--json").json == []
    assert cli("sessions", "events", "bob", "--json").json["observation"]["strings"] == ["home"]
