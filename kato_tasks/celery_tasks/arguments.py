"""Read a task call's arguments by name, as plain JSON. Errors in them are raised where the call is written."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from kato_tasks.domain.keys import known_observation
from kato_tasks.domain.known_names import UnknownKeys, nearest
from kato_tasks.domain.observations import Observation
from kato_tasks.domain.plain import plain


def by_name(
    run: Callable[..., Any], task: str, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the arguments of a complete call by name, without those that are None.

    Raises TypeError, in the words of the task, when an argument is missing, unknown or one too many.
    """
    signature = inspect.signature(run)
    try:
        given = signature.bind(*(args or ()), **(kwargs or {}))
    except TypeError as exc:
        raise TypeError(_why(signature, task, args or (), kwargs or {}) or f"{task}(): {exc}") from None
    return {name: as_json(value) for name, value in given.arguments.items() if value is not None}


def is_complete(run: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Return whether a call has all arguments that it needs, and no others."""
    try:
        inspect.signature(run).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def refuse_wrong_names(
    run: Callable[..., Any], task: str, args: Sequence[Any], kwargs: Mapping[str, Any], unknown: UnknownKeys
) -> None:
    """Refuse misspelt names in a call that is not complete yet, such as a chain's step that gets its session later.

    Raises TypeError for an argument, and InvalidEvent for a key of an observation.
    """
    signature = inspect.signature(run)
    wrong = _unknown_argument(signature, task, kwargs) or _too_many(signature, task, args)
    if wrong:
        raise TypeError(wrong)
    for value in (*args, kwargs.get("observation")):
        if "observation" in signature.parameters and isinstance(value, Mapping):
            known_observation(value, unknown)


def as_json(value: Any) -> Any:
    """Return an argument as plain JSON if it has a JSON form."""
    if isinstance(value, Observation):
        return value.model_dump()
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, str | BaseModel) else plain(value)


def _why(signature: inspect.Signature, task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    wrong = _unknown_argument(signature, task, kwargs) or _too_many(signature, task, args)
    if wrong:
        return wrong
    places = _places(signature)
    given = {*places[: len(args)], *kwargs}
    empty = inspect.Parameter.empty
    missing = [name for name in places if name not in given and signature.parameters[name].default is empty]
    return f"{task}() needs {' and '.join(missing)}" if missing else ""


def _places(signature: inspect.Signature) -> list[str]:
    return [name for name, one in signature.parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]


def _too_many(signature: inspect.Signature, task: str, args: Sequence[Any]) -> str:
    places = _places(signature)
    if len(args) <= len(places):
        return ""
    return (
        f"{task}() takes {', '.join(places)} by position, and {len(args)} arguments were given; a step of a chain gets "
        "the result of the step before it as its first argument, unless it is written with .si() in place of .s()"
    )


def _unknown_argument(signature: inspect.Signature, task: str, kwargs: Mapping[str, Any]) -> str:
    for name in kwargs:
        if name not in signature.parameters:
            meant = nearest(name, signature.parameters)
            advice = f"did you mean {meant}?" if meant else f"it takes {', '.join(signature.parameters)}"
            return f"{task}() has no argument {name}; {advice}"
    return ""
