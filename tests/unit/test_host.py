"""A host's Celery stays the host's, and our tasks can be put on it. Each program is a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kato_tasks.celery_tasks.worker.flower_pages import TASKS_COLUMNS

CHECKOUT = str(Path(__file__).resolve().parents[2])
Told = Callable[..., Any]
HOST = """
import json, sys, threading
from celery import Celery, current_app, shared_task

@shared_task(name="host.mail")
def mail(): pass

def host(name="host", **options):
    return Celery(name, broker="redis://127.0.0.1:1/5", backend="redis://127.0.0.1:1/6", **options)

def said(call, *given, **named):
    try:
        call(*given, **named)
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"
"""


FORKS = """
import json, os, sys, traceback
import celery.canvas, celery.contrib.testing, click.testing, kombu.transport.redis, pydantic, redis

for line in sys.stdin:
    program, environment = json.loads(line)
    if (child := os.fork()) == 0:
        os.environ.update(environment)
        try:
            exec(program, {"__name__": "__main__"})
        except BaseException:
            print(json.dumps({"error": traceback.format_exc()}))
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
"""
"""A process that has loaded Celery and nothing of ours: a program in a fork of it costs a tenth of a new process."""


def started(program: str, **environment: str) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KATO_TASKS_")}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program],
        env=inherited | {"PYTHONPATH": CHECKOUT} | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def forks() -> Iterator[subprocess.Popen[str]]:
    with started(FORKS) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def told(forks: subprocess.Popen[str]) -> Callable[..., Any]:
    """What a program prints (JSON)."""

    def told(program: str, **environment: str) -> Any:
        assert forks.stdin is not None
        assert forks.stdout is not None
        forks.stdin.write(json.dumps([HOST + textwrap.dedent(program), environment]) + "\n")
        forks.stdin.flush()
        answer = json.loads(forks.stdout.readline())
        assert not (isinstance(answer, dict) and "error" in answer), answer["error"]
        return answer

    return told


@pytest.mark.parametrize("order", ["before", "after", "in a thread"])
def test_importing_any_name_leaves_the_current_app_and_shared_tasks_to_the_host(told: Told, order: str) -> None:
    program = """
        import kato_tasks
        def ask():
            for name in kato_tasks.__all__:
                getattr(kato_tasks, name)
            kato_tasks.observe.name
            seen.append(current_app.main)
        seen = []
        order = sys.argv[1] if len(sys.argv) > 1 else ORDER
        if order == "before":
            ask()
        app = host()
        if order == "after":
            app.tasks
            ask()
        if order == "in a thread":
            app.set_default()
            thread = threading.Thread(target=ask)
            thread.start()
            thread.join()
        print(json.dumps([seen, current_app.main, mail.app.main, kato_tasks.observe.app.main]))
    """.replace("ORDER", repr(order))
    seen, current, shared, ours = told(program)
    assert (current, shared, ours) == ("host", "host", "kato_tasks")
    assert seen == (["default"] if order == "before" else ["host"])


def test_in_a_django_project_the_threads_of_requests_find_the_hosts_app_though_ours_was_made_first(told: Told) -> None:
    """Celery's fix-up for Django makes the first app of a process the default one of all its threads."""
    program = """
        import kato_tasks
        kato_tasks.observe.name
        app = host()
        seen = []
        thread = threading.Thread(target=lambda: seen.extend([current_app.main, mail.app.main]))
        thread.start()
        thread.join()
        print(json.dumps(seen))
    """
    assert told(program, DJANGO_SETTINGS_MODULE="shop.settings") == ["host", "host"]


def test_our_own_worker_in_a_django_project_has_celerys_fix_up_for_it(told: Told) -> None:
    program = """
        import types
        sys.modules["shop_settings"] = types.ModuleType("shop_settings")
        sys.modules["shop_settings"].SECRET_KEY = "none"
        from kato_tasks import app
        app.conf.imports = ()
        app.loader.import_default_modules()
        from django.apps import apps
        @app.task(name="shop.x")
        def own(): pass
        print(json.dumps([apps.ready, type(app._fixups[0]).__name__, current_app.main,
                          hasattr(own, "delay_on_commit")]))
    """
    assert told(program, DJANGO_SETTINGS_MODULE="shop_settings") == [True, "DjangoFixup", "kato_tasks", True]


def test_our_canvases_need_no_current_app() -> None:
    """Celery's C_STRICT_APP raises where the current app is asked for."""
    program = """
        import json
        from celery import chain, chord, group
        from kato_tasks import observe, predict
        from kato_tasks.celery_tasks.sending import _frozen
        from kato_tasks.celery_app import app
        seen = {"strings": ["a"]}
        steps = [observe.s("s", seen), predict.si("s")]
        made = [chain(*steps), group(steps), chord(steps, predict.si("s")), chain(group(steps), predict.si("s"))]
        for canvas in made:
            assert canvas.app is app
            canvas.freeze()
        print(_frozen([json.loads(json.dumps(predict.si("s")))], app)[0].id)
    """
    with started(textwrap.dedent(program), C_STRICT_APP="1", KATO_TASKS_RESULT_BACKEND="cache+memory://") as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.strip()


def test_a_host_knows_our_public_tasks_on_our_own_app_so_that_its_workers_send_them_as_next_steps(told: Told) -> None:
    program = """
        early = host("early")
        early.tasks
        import kato_tasks
        kato_tasks.observe.name
        late = host("late")
        ours = [{n: t for n, t in app.tasks.items() if "kato" in n} for app in (early, late)]
        print(json.dumps([{name: task._get_app().main for name, task in known.items()} for known in ours]))
    """
    public = ("clear_stm", "learn", "observe", "predict", "process_observation_async", "replay")
    expected = {f"kato_tasks.{name}": "kato_tasks" for name in public}
    assert told(program) == [expected, expected]


def test_a_host_that_only_calls_our_tasks_gets_none_of_a_workers_machinery(told: Told) -> None:
    program = """
        app = host()
        from kato_tasks import observe
        observe.name
        from celery.signals import worker_init, worker_ready
        from kombu.transport import redis
        loaded = "kato_tasks.celery_tasks.worker.worker_signals" in sys.modules
        mine = [r for s in (worker_init, worker_ready) for _, r in s.receivers if "kato" in repr(r)]
        print(json.dumps([loaded, len(mine), hasattr(redis.Channel.QoS, "kato_guarded")]))
    """
    assert told(program) == [False, 0, False]


def test_our_workers_signals_do_nothing_in_another_apps_worker(told: Told) -> None:
    """They are the process's, so a host that imported them by accident must not be served by them."""
    program = """
        app = host()
        import kato_tasks.celery_tasks.worker.worker_signals as signals
        from types import SimpleNamespace
        from kombu.transport import redis
        sender = SimpleNamespace(app=app, pool_cls="gevent")
        for begin in (signals.serve_or_stand_aside, signals.guard_the_broker, signals.refuse_a_pool_that_would_block,
                      signals.refuse_a_store_that_drops_keys, signals.start_sweeping):
            begin(sender=sender)
        print(json.dumps([len(signals._threads), hasattr(redis.Channel.QoS, "kato_guarded")]))
    """
    assert told(program) == [0, False]


# ------------------------------------------------------------------------------- install


@pytest.mark.parametrize("order", ["before", "after"])
def test_the_same_names_are_on_the_hosts_app_whether_they_were_imported_before_or_after(told: Told, order: str) -> None:
    program = """
        import kato_tasks
        if ORDER == "before":
            from kato_tasks import observe, learn
            observe.s("s", {"strings": ["a"]})
        app = host()
        assert kato_tasks.install(app) is app
        from kato_tasks import observe as again, predict
        ours = sorted(name for name in app.tasks if name.startswith("kato_tasks."))
        routed = {name: app.amqp.router.route({}, name)["queue"].name for name in ("kato_tasks.sweep", "host.mail")}
        print(json.dumps([again.app.main, predict.app.main, kato_tasks.app.main, app.tasks["kato_tasks.predict"] is
                          predict._get_current_object(), ours, routed, again.backend.app.main]))
    """.replace("ORDER", repr(order))
    on, also_on, app, same, ours, routed, backend = told(program)
    assert (on, also_on, app, same, backend) == ("host", "host", "host", True, "host")
    assert {"kato_tasks.sweep", "kato_tasks.drain", "kato_tasks.observe"} <= set(ours)
    assert routed == {"kato_tasks.sweep": "kato.control", "host.mail": "celery"}


def test_the_hosts_configuration_is_as_it_was(told: Told) -> None:
    program = """
        from kombu import Queue
        import kato_tasks
        def made():
            app = host()
            app.conf.task_queues = [Queue("mine")]
            app.conf.task_routes = {"*": {"queue": "mine", "routing_key": "other"}}
            app.conf.task_serializer = "pickle"
            app.conf.accept_content = ["pickle", "json"]
            app.conf.task_ignore_result = True
            app.conf.task_queue_max_priority = 9
            app.conf.task_default_rate_limit = "1/m"
            return app
        untouched, app = made(), made()
        kato_tasks.install(app)
        differs = [k for k in untouched.conf if untouched.conf[k] != app.conf[k] and k != "task_queues"]
        consumed = list(app.amqp.queues.consume_from)
        task = app.tasks["kato_tasks.observe"]
        lane = app.amqp.queues["kato.lane.00"]
        options = app.amqp.router.route({"queue": "kato.lane.03"}, "kato_tasks.observe", task_type=task)
        print(json.dumps([differs, [q.name for q in app.conf.task_queues], consumed[:2], len(consumed),
            [task.acks_late, task.reject_on_worker_lost, task.serializer, task.ignore_result, bool(task.rate_limit)],
            sorted(options), options["queue"].name, lane.queue_arguments, lane.exchange.name]))
    """
    differs, queues, consumed, count, task, options, queue, arguments, exchange = told(program)
    assert differs == []
    assert queues == ["mine"]
    assert (consumed, count) == (["mine", "kato.lane.00"], 1 + 16 + 2)
    assert task == [True, True, "json", False, False]
    assert (options, queue, arguments, exchange) == (["queue"], "kato.lane.03", None, "kato")


def test_a_lazily_configured_app_is_not_read_by_install_and_may_be_configured_after_it(told: Told) -> None:
    """As Django's, whose settings are being loaded while proj/celery.py runs."""
    program = """
        import types
        import kato_tasks
        module = types.ModuleType("later")
        app = Celery("host")
        app.config_from_object("later", namespace="CELERY")
        kato_tasks.install(app)
        assert not app.configured and not app.finalized
        module.CELERY_BROKER_URL = "redis://127.0.0.1:1/7"
        module.CELERY_TASK_DEFAULT_QUEUE = "shop"
        sys.modules["later"] = module
        other = kato_tasks.observe.app
        print(json.dumps([app.conf.broker_url, other.conf.broker_url, list(app.amqp.queues.consume_from)[:2]]))
    """
    assert told(program) == ["redis://127.0.0.1:1/7", "redis://127.0.0.1:1/7", ["shop", "kato.lane.00"]]


def test_install_twice_on_one_app_is_harmless_and_on_another_it_is_refused_once_the_first_is_used(told: Told) -> None:
    program = """
        import kato_tasks
        from kato_tasks.celery_tasks.app.home import home
        first, second, third = host("first"), host("second"), host("third")
        kato_tasks.install(first)
        kato_tasks.install(first)
        kato_tasks.install(second)
        left = [len([n for n in app.amqp.queues if n.startswith("kato.")]) for app in (first, second)]
        tasks = [sorted(t.app.main for n, t in app.tasks.items() if n == "kato_tasks.drain") for app in (first, second)]
        home()
        kato_tasks.install(second)
        print(json.dumps([left, tasks, said(kato_tasks.install, third), kato_tasks.app.main]))
    """
    left, tasks, refused, app = told(program)
    assert (left, tasks, app) == ([0, 18], [[], ["second"]], "second")
    assert refused.startswith("ConfigurationError: the tasks of kato_tasks are in use on the Celery app 'second', and")


def test_install_after_our_own_app_was_used_is_refused(told: Told) -> None:
    program = """
        import kato_tasks
        from kato_tasks.celery_tasks.app.home import home
        home()
        print(json.dumps([said(kato_tasks.install, host()), said(kato_tasks.install, "proj")]))
    """
    used, no_app = told(program)
    assert "are in use on the Celery app 'kato_tasks'" in used
    assert no_app == "ConfigurationError: kato_tasks.install takes a Celery app, not str"


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("accept_content", ["pickle"], "accept_content of the Celery app 'host' is ['pickle']"),
        ("task_protocol", 1, "task_protocol of the Celery app 'host' is 1"),
    ],
)
def test_a_host_whose_messages_cannot_carry_ours_is_refused_with_the_settings_name(
    told: Told, setting: str, value: Any, says: str
) -> None:
    program = f"""
        import kato_tasks
        app = host()
        app.conf.{setting} = {value!r}
        kato_tasks.install(app)
        print(json.dumps(said(kato_tasks.observe.delay, "s", {{"strings": ["a"]}})))
    """
    assert told(program).startswith(f"ConfigurationError: {says}")


def test_settings_given_to_install_are_the_processes_and_the_broker_is_the_hosts(told: Told) -> None:
    program = """
        import kato_tasks
        from kato_tasks.settings import Settings, settings
        app = Celery("host", broker="redis://:secret@127.0.0.1:1/5", backend="redis://127.0.0.1:1/6")
        given = Settings(store_url="redis://127.0.0.1:1/9", shards=3)
        kato_tasks.install(app, settings=given)
        kato_tasks.install(app, settings=given)
        from click.testing import CliRunner
        from kato_tasks.cli import kato
        shown = json.loads(CliRunner().invoke(kato, ["config", "--json"]).output)
        print(json.dumps([shown[n] for n in ("store_url", "broker_url", "result_backend", "shards")] + [
            len(app.amqp.queues.consume_from)]))
    """
    assert told(program, KATO_TASKS_STORE_URL="redis://127.0.0.1:1/2") == [
        "redis://127.0.0.1:1/9",
        "redis://:***@127.0.0.1:1/5",
        "redis://127.0.0.1:1/6",
        3,
        1 + 3 + 2,
    ]


def test_beat_sends_our_entries_beside_the_hosts_also_when_it_sets_its_own_later(told: Told) -> None:
    program = """
        import kato_tasks
        app = host()
        kato_tasks.install(app)
        app.conf.beat_schedule = {"mine": {"task": "host.mail", "schedule": 60}}
        app.loader.init_worker()   # what beat does first
        print(json.dumps({name: entry["task"] for name, entry in app.conf.beat_schedule.items()}))
    """
    assert told(program) == {
        "mine": "host.mail",
        "kato-sweep": "kato_tasks.sweep",
        "kato-keep-alive": "kato_tasks.keep_alive",
        "kato-prune-archive": "kato_tasks.prune_archive",
    }


def test_install_from_a_module_that_a_worker_imports_is_in_time(told: Told) -> None:
    """As from Django's `AppConfig.ready`: the signal that Celery imports modules is being sent already."""
    program = """
        import types
        from celery.signals import import_modules
        app = host()
        app.tasks, app.amqp.queues
        def ready(**_):
            import kato_tasks
            kato_tasks.install(app)
        import_modules.connect(ready, sender=app, weak=False)
        app.loader.init_worker()
        print(json.dumps(["kato_tasks.celery_tasks.worker.worker_signals" in sys.modules,
                          "kato-sweep" in app.conf.beat_schedule,
                          "kato.lane.00" in app.amqp.queues.consume_from, app.tasks["kato_tasks.drain"].app.main]))
    """
    assert told(program) == [True, True, True, "host"]


@pytest.mark.parametrize(
    ("options", "serving"),
    [((None, None), True), ((["celery"], None), False), ((None, ["kato.*"]), False), ((["kato.lane.*"], None), True)],
)
def test_a_hosts_worker_serves_ours_unless_its_queues_are_chosen_otherwise(
    told: Told, options: Any, serving: bool
) -> None:
    program = f"""
        import kato_tasks
        from kato_tasks.celery_tasks.app.queueing import serves_lanes
        app = host()
        kato_tasks.install(app)
        app.amqp.queues.select({options[0]!r})
        app.amqp.queues.deselect({options[1]!r})
        print(json.dumps(serves_lanes(app)))
    """
    assert told(program) is serving


def test_a_pool_that_cannot_work_is_refused_where_a_hosts_worker_serves_ours_and_only_there(told: Told) -> None:
    program = """
        import kato_tasks
        from types import SimpleNamespace
        app = host()
        kato_tasks.install(app)
        import kato_tasks.celery_tasks.worker.worker_signals as signals
        def begin():
            sender = SimpleNamespace(app=app, pool_cls="celery.concurrency.base:BasePool")
            signals.serve_or_stand_aside(sender=sender)
            try:
                signals.refuse_a_pool_that_would_block(sender=sender)
            except SystemExit as exc:
                return str(exc)
        serving = begin()
        app.amqp.queues.deselect(["kato.*"])
        print(json.dumps([serving, begin(), app.conf.worker_enable_prefetch_count_reduction]))
    """
    serving, aside, reduction = told(program)
    assert "is not supported" in serving
    assert (aside, reduction) == (None, False)


# ------------------------------------------------------------------------------- an application's own tasks


def test_own_tasks_have_a_queue_that_a_stock_worker_does_not_consume(told: Told) -> None:
    program = """
        from kato_tasks import app
        route = app.amqp.router.route
        names = ("kato_tasks.sweep", "celery.chord_unlock", "shop.notify")
        stock = list(app.amqp.queues.consume_from)
        app.amqp.queues.select(["kato.own"])
        print(json.dumps([[route({}, name)["queue"].name for name in names], route({"queue": "mine"}, "shop.notify")
            ["queue"].name, "mine" in app.amqp.queues, "kato.own" in stock, len(stock),
            list(app.amqp.queues.consume_from),
            said(route, {"queue": "kato.lane.99"}, "shop.notify"), said(route, {"queue": "mine"}, "kato_tasks.observe"),
            said(app.amqp.queues.select, ["mine"])]))
    """
    routed, mine, known, consumed, stock, selected, no_lane, not_ours, mistyped = told(program)
    assert routed == ["kato.control", "kato.control", "kato.own"]
    assert (mine, known, consumed, stock, selected) == ("mine", False, False, 16 + 2, ["kato.own"])
    assert no_lane.startswith("QueueNotFound")
    assert not_ours.startswith("QueueNotFound")
    assert mistyped.startswith("KeyError")


@pytest.mark.parametrize(("served", "says"), [("kato.lane.*", True), ("kato.*", False)])
def test_a_worker_that_knows_own_tasks_and_does_not_serve_their_queue_says_so(
    told: Told, served: str, says: bool
) -> None:
    program = f"""
        import logging
        from kato_tasks import app
        import kato_tasks.celery_tasks.worker.worker_signals as signals
        said = []
        signals.log.addHandler(type("Kept", (logging.Handler,), {{"emit": lambda _, r: said.append(r.getMessage())}})())
        @app.task(name="shop.notify")
        def notify(): pass
        app.amqp.queues.select([{served!r}])
        signals._serving = True
        signals.tell_of_own_tasks_that_nobody_takes()
        print(json.dumps(said))
    """
    said = told(program)
    assert len(said) == says
    assert all(
        line.startswith("own_queue.unserved queue=kato.own tasks=host.mail,shop.notify meaning=") for line in said
    )


def test_a_step_of_the_hosts_is_addressed_as_its_own_app_sends_it_at_any_depth(told: Told) -> None:
    program = """
        from celery import chain, chord, group
        from kato_tasks import observe
        from kato_tasks.celery_tasks.calling.addressing import address
        app = host()
        app.conf.task_routes = {"host.urgent": {"queue": "fast"}}
        @app.task(name="host.urgent", serializer="yaml")
        def urgent(x): pass
        @app.task(name="host.plain", ignore_result=True)
        def plain(x): pass
        seen = observe.s("s", {"strings": ["a"]})
        canvas = [urgent.s(), plain.s(), plain.s().set(queue="chosen"), group(urgent.s(), plain.s()),
                  chord([seen, urgent.s()], plain.s()),
                  chain(plain.s(), urgent.s().set(link_error=[plain.s()])), mail.s()]
        address(canvas)
        flat = json.loads(json.dumps(canvas))
        print(json.dumps([flat[0]["options"], flat[1]["options"], flat[2]["options"],
            [t["options"].get("queue") for t in flat[3]["kwargs"]["tasks"]],
            flat[4]["kwargs"]["body"]["options"]["queue"],
            [t["options"] for t in flat[5]["kwargs"]["tasks"]], flat[6]["options"]["queue"]]))
    """
    urgent, plain, chosen, grouped, body, chained, shared = told(program)
    assert urgent == {"queue": "fast", "serializer": "yaml"}
    assert plain == {"queue": "celery", "serializer": "json", "ignore_result": True}
    assert chosen == {"queue": "chosen"}
    assert (grouped, body, shared) == (["fast", "celery"], "celery", "celery")
    assert chained[1]["link_error"][0]["options"]["queue"] == "celery"


@pytest.mark.parametrize("name", ["", "kato.control", "kato.lane.03"])
def test_the_own_queue_cannot_be_one_of_ours(told: Told, name: str) -> None:
    program = """
        from kato_tasks.settings import settings
        print(json.dumps(said(settings)))
    """
    assert "KATO_TASKS_OWN_QUEUE" in told(program, KATO_TASKS_OWN_QUEUE=name)


def test_a_hosts_flower_shows_arguments_and_what_waits_in_the_log(told: Told) -> None:
    """Falls without `flower_pages` in hosting._serve."""
    program = """
        import flower.command
        from flower.options import default_options
        from flower.views.broker import BrokerView
        import kato_tasks
        app = kato_tasks.install(host())
        before = default_options.tasks_columns
        app.loader.import_default_modules()
        shown = getattr(BrokerView.get_broker, "shows_the_log", False)
        print(json.dumps([before, default_options.tasks_columns, shown]))
    """
    assert told(program) == ["name,uuid,state,received,runtime,worker", TASKS_COLUMNS, True]
