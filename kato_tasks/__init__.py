"""kato_tasks: events from anywhere, applied to KATO in order, once, whatever dies.

Names are exported lazily, so that ``import kato_tasks`` in an application costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kato_tasks.loading import load
from kato_tasks.version import __version__ as __version__

if TYPE_CHECKING:
    from kato_tasks.api.append import append_events
    from kato_tasks.api.append_async import append_events_async
    from kato_tasks.api.event_store import append_event
    from kato_tasks.api.event_store_async import append_event_async
    from kato_tasks.api.forgetting import forget_session
    from kato_tasks.api.history import history
    from kato_tasks.api.node_history import events_by_node
    from kato_tasks.api.replays.public import replay_events, replay_status, start_replay
    from kato_tasks.api.sessions import session_status
    from kato_tasks.api.subscription import subscribe
    from kato_tasks.api.time_history import events_by_time
    from kato_tasks.celery_app import app
    from kato_tasks.celery_tasks.app.hosting import install
    from kato_tasks.celery_tasks.app.making import make_app
    from kato_tasks.celery_tasks.calling.awaiting import aget
    from kato_tasks.celery_tasks.tasks import (
        clear_stm,
        learn,
        observe,
        predict,
        process_observation_async,
        replay,
    )
    from kato_tasks.celery_tasks.typed_task import (
        TypedResult,
        TypedSignature,
        TypedTask,
    )
    from kato_tasks.domain.events import Event
    from kato_tasks.domain.forgotten import Forgotten, HeldPattern
    from kato_tasks.domain.observations import Observation
    from kato_tasks.domain.replays import ReplayStatus
    from kato_tasks.domain.results import (
        Appended,
        Applied,
        BindingStatus,
        FuturePotential,
        Learned,
        Observed,
        Predicted,
        Prediction,
        SessionStatus,
    )
    from kato_tasks.domain.results_json import (
        AppliedJson,
        FuturePotentialJson,
        LearnedJson,
        ObservedJson,
        PredictedJson,
        PredictionJson,
        RawPredictedJson,
    )
    from kato_tasks.errors import (
        ArchiveUnavailable,
        BrokerUnavailable,
        ConfigurationError,
        EventConflict,
        EventRefused,
        HistoryIncomplete,
        InvalidEvent,
        KatoTasksError,
        LogArchived,
        NodeConflict,
        NotAppliedYet,
        PositionConflict,
        ReplayBusy,
        ReplayFailed,
        SessionBusy,
        SourceUnavailable,
        StoreFailed,
        StoreFull,
        StoreUnavailable,
        StoreWentBack,
        TooManyPredicts,
        UnknownReplay,
        UnreadableRow,
    )
    from kato_tasks.publishers.kafka import KafkaPublisher
    from kato_tasks.publishers.rabbitmq import RabbitMQPublisher
    from kato_tasks.publishers.redis_streams import RedisStreamPublisher
    from kato_tasks.settings import Settings

_HOMES = {
    "celery": "kato_tasks.celery_app",
    "append_events": "kato_tasks.api.append",
    "append_events_async": "kato_tasks.api.append_async",
    "append_event": "kato_tasks.api.event_store",
    "append_event_async": "kato_tasks.api.event_store_async",
    "history": "kato_tasks.api.history",
    "events_by_node": "kato_tasks.api.node_history",
    "forget_session": "kato_tasks.api.forgetting",
    "session_status": "kato_tasks.api.sessions",
    "subscribe": "kato_tasks.api.subscription",
    "events_by_time": "kato_tasks.api.time_history",
    "app": "kato_tasks.celery_app",
    "install": "kato_tasks.celery_tasks.app.hosting",
    "make_app": "kato_tasks.celery_tasks.app.making",
    "aget": "kato_tasks.celery_tasks.calling.awaiting",
    "clear_stm": "kato_tasks.celery_tasks.tasks",
    "learn": "kato_tasks.celery_tasks.tasks",
    "observe": "kato_tasks.celery_tasks.tasks",
    "predict": "kato_tasks.celery_tasks.tasks",
    "process_observation_async": "kato_tasks.celery_tasks.tasks",
    "TypedResult": "kato_tasks.celery_tasks.typed_task",
    "TypedSignature": "kato_tasks.celery_tasks.typed_task",
    "TypedTask": "kato_tasks.celery_tasks.typed_task",
    "Event": "kato_tasks.domain.events",
    "Forgotten": "kato_tasks.domain.forgotten",
    "HeldPattern": "kato_tasks.domain.forgotten",
    "Observation": "kato_tasks.domain.observations",
    "Applied": "kato_tasks.domain.results",
    "Appended": "kato_tasks.domain.results",
    "BindingStatus": "kato_tasks.domain.results",
    "FuturePotential": "kato_tasks.domain.results",
    "Learned": "kato_tasks.domain.results",
    "Observed": "kato_tasks.domain.results",
    "Predicted": "kato_tasks.domain.results",
    "Prediction": "kato_tasks.domain.results",
    "SessionStatus": "kato_tasks.domain.results",
    "AppliedJson": "kato_tasks.domain.results_json",
    "FuturePotentialJson": "kato_tasks.domain.results_json",
    "LearnedJson": "kato_tasks.domain.results_json",
    "ObservedJson": "kato_tasks.domain.results_json",
    "PredictedJson": "kato_tasks.domain.results_json",
    "PredictionJson": "kato_tasks.domain.results_json",
    "RawPredictedJson": "kato_tasks.domain.results_json",
    "ArchiveUnavailable": "kato_tasks.errors",
    "LogArchived": "kato_tasks.errors",
    "ReplayBusy": "kato_tasks.errors",
    "ReplayFailed": "kato_tasks.errors",
    "ReplayStatus": "kato_tasks.domain.replays",
    "replay": "kato_tasks.celery_tasks.tasks",
    "replay_events": "kato_tasks.api.replays.public",
    "replay_status": "kato_tasks.api.replays.public",
    "start_replay": "kato_tasks.api.replays.public",
    "SessionBusy": "kato_tasks.errors",
    "UnknownReplay": "kato_tasks.errors",
    "BrokerUnavailable": "kato_tasks.errors",
    "ConfigurationError": "kato_tasks.errors",
    "EventConflict": "kato_tasks.errors",
    "EventRefused": "kato_tasks.errors",
    "HistoryIncomplete": "kato_tasks.errors",
    "InvalidEvent": "kato_tasks.errors",
    "KatoTasksError": "kato_tasks.errors",
    "NodeConflict": "kato_tasks.errors",
    "NotAppliedYet": "kato_tasks.errors",
    "PositionConflict": "kato_tasks.errors",
    "SourceUnavailable": "kato_tasks.errors",
    "StoreFailed": "kato_tasks.errors",
    "StoreFull": "kato_tasks.errors",
    "StoreUnavailable": "kato_tasks.errors",
    "StoreWentBack": "kato_tasks.errors",
    "TooManyPredicts": "kato_tasks.errors",
    "UnreadableRow": "kato_tasks.errors",
    "KafkaPublisher": "kato_tasks.publishers.kafka",
    "RabbitMQPublisher": "kato_tasks.publishers.rabbitmq",
    "RedisStreamPublisher": "kato_tasks.publishers.redis_streams",
    "Settings": "kato_tasks.settings",
}

__all__ = [
    "Appended",
    "Applied",
    "AppliedJson",
    "ArchiveUnavailable",
    "BindingStatus",
    "BrokerUnavailable",
    "ConfigurationError",
    "Event",
    "EventConflict",
    "EventRefused",
    "Forgotten",
    "FuturePotential",
    "FuturePotentialJson",
    "HeldPattern",
    "HistoryIncomplete",
    "InvalidEvent",
    "KafkaPublisher",
    "KatoTasksError",
    "Learned",
    "LearnedJson",
    "LogArchived",
    "NodeConflict",
    "NotAppliedYet",
    "Observation",
    "Observed",
    "ObservedJson",
    "PositionConflict",
    "Predicted",
    "PredictedJson",
    "Prediction",
    "PredictionJson",
    "RabbitMQPublisher",
    "RawPredictedJson",
    "RedisStreamPublisher",
    "ReplayBusy",
    "ReplayFailed",
    "ReplayStatus",
    "SessionBusy",
    "SessionStatus",
    "Settings",
    "SourceUnavailable",
    "StoreFailed",
    "StoreFull",
    "StoreUnavailable",
    "StoreWentBack",
    "TooManyPredicts",
    "TypedResult",
    "TypedSignature",
    "TypedTask",
    "UnknownReplay",
    "UnreadableRow",
    "aget",
    "app",
    "append_event",
    "append_event_async",
    "append_events",
    "append_events_async",
    "clear_stm",
    "events_by_node",
    "events_by_time",
    "forget_session",
    "history",
    "install",
    "learn",
    "make_app",
    "observe",
    "predict",
    "process_observation_async",
    "replay",
    "replay_events",
    "replay_status",
    "session_status",
    "start_replay",
    "subscribe",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'kato_tasks' has no attribute {name!r}")
    module = load(home)
    if home == "kato_tasks.celery_app":
        # It is another one once the tasks are installed on a host's app.
        return load("kato_tasks.celery_tasks.app.home").home_app()
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
