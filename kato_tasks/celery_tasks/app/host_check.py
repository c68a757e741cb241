"""Check a host's Celery configuration for our tasks: refuse what cannot work, set what is unset, and give advice.

Everything else that our tasks need stands on their own classes and messages (``home_task``), so that a host's
configuration is never overwritten.
"""

from __future__ import annotations

from typing import Any

from kato_tasks.errors import ConfigurationError

JSON_NAMES = frozenset({"json", "application/json"})


def refuse_what_cannot_work(app: Any) -> None:
    """Raise ConfigurationError, naming the setting, for a configuration under which our tasks cannot run."""
    conf = app.conf
    accepted = conf.accept_content or ()
    if not JSON_NAMES & set(accepted):
        raise ConfigurationError(
            f"accept_content of the Celery app {_name(app)} is {sorted(accepted)}, and the tasks of kato_tasks are "
            "sent as JSON; add 'json' to it"
        )
    if conf.task_protocol != 2:
        raise ConfigurationError(
            f"task_protocol of the Celery app {_name(app)} is {conf.task_protocol}, whose messages do not carry where "
            "an event is; leave it at 2, Celery's default"
        )


def set_where_unset(app: Any) -> None:
    """Set the option that is harmless to a host and without which a worker may hang, unless the host sets it.

    Workers call this; see docs/celery.md.
    """
    if "worker_enable_prefetch_count_reduction" not in app.conf.without_defaults():
        app.conf.worker_enable_prefetch_count_reduction = False


def advice(app: Any) -> list[str]:
    """Return the sentences that a worker of the host logs at its start.

    Each names a setting, says what follows from it, and says what to do.
    """
    conf, said = app.conf, []
    transport = app.connection_for_read().transport.driver_type
    options = conf.broker_transport_options or {}
    if transport == "redis" and "visibility_timeout" not in options:
        said.append(
            "broker_transport_options has no visibility_timeout, so the task messages of a killed worker come back "
            "after an hour: their events are applied at once, their results wait; set it to 90 unless tasks of "
            "yours run, or wait as an ETA, for longer"
        )
    if transport == "amqp" and not options.get("confirm_publish"):
        said.append(
            "broker_transport_options has no confirm_publish, so a task message can be lost with its broker: its "
            "event is applied, its result is not told; set it to True"
        )
    if conf.worker_cancel_long_running_tasks_on_connection_loss:
        said.append(
            "worker_cancel_long_running_tasks_on_connection_loss is on, so a broken connection to the broker ends "
            "calls to KATO in the middle, and each of them must be reconciled; switch it off"
        )
    if conf.result_backend is None and app.backend_cls is None:
        said.append("result_backend is not set, so no result can be asked for; set it if you use .get() or chords")
    return said


def _name(app: Any) -> str:
    return repr(app.main or "(without a name)")


__all__ = ["advice", "refuse_what_cannot_work", "set_where_unset"]
