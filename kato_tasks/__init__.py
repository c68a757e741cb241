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
    from kato_tasks.api.sessions import session_status
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
    )
    from kato_tasks.celery_tasks.typed_task import (
        TypedResult,
        TypedSignature,
        TypedTask,
    )
    from kato_tasks.domain.events import Event
    from kato_tasks.domain.observations import Observation
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
        ConfigurationError,
        EventConflict,
        EventRefused,
        InvalidEvent,
        KatoTasksError,
        NodeConflict,
        NotAppliedYet,
        StoreFailed,
        StoreFull,
        StoreUnavailable,
        StoreWentBack,
        TooManyPredicts,
        UnreadableRow,
    )
    from kato_tasks.settings import Settings

_HOMES = {
    "celery": "kato_tasks.celery_app",
    "append_events": "kato_tasks.api.append",
    "append_events_async": "kato_tasks.api.append_async",
    "session_status": "kato_tasks.api.sessions",
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
    "ConfigurationError": "kato_tasks.errors",
    "EventConflict": "kato_tasks.errors",
    "EventRefused": "kato_tasks.errors",
    "InvalidEvent": "kato_tasks.errors",
    "KatoTasksError": "kato_tasks.errors",
    "NodeConflict": "kato_tasks.errors",
    "NotAppliedYet": "kato_tasks.errors",
    "StoreFailed": "kato_tasks.errors",
    "StoreFull": "kato_tasks.errors",
    "StoreUnavailable": "kato_tasks.errors",
    "StoreWentBack": "kato_tasks.errors",
    "TooManyPredicts": "kato_tasks.errors",
    "UnreadableRow": "kato_tasks.errors",
    "Settings": "kato_tasks.settings",
}

__all__ = [
    "Appended",
    "Applied",
    "AppliedJson",
    "BindingStatus",
    "ConfigurationError",
    "Event",
    "EventConflict",
    "EventRefused",
    "FuturePotential",
    "FuturePotentialJson",
    "InvalidEvent",
    "KatoTasksError",
    "Learned",
    "LearnedJson",
    "NodeConflict",
    "NotAppliedYet",
    "Observation",
    "Observed",
    "ObservedJson",
    "Predicted",
    "PredictedJson",
    "Prediction",
    "PredictionJson",
    "RawPredictedJson",
    "SessionStatus",
    "Settings",
    "StoreFailed",
    "StoreFull",
    "StoreUnavailable",
    "StoreWentBack",
    "TooManyPredicts",
    "TypedResult",
    "TypedSignature",
    "TypedTask",
    "UnreadableRow",
    "aget",
    "app",
    "append_events",
    "append_events_async",
    "clear_stm",
    "install",
    "learn",
    "make_app",
    "observe",
    "predict",
    "process_observation_async",
    "session_status",
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
