"""Two answers, field by field. What may differ between two KATOs is in `MAY_DIFFER`; all else is a difference."""

import math
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from tests.differential.asking import Answer


class About(NamedTuple):
    """What is known about the call whose answers are compared."""

    kind: str
    at: float
    """When it was answered, in seconds since 1970."""
    max_predictions: int
    unsettled: bool
    """Patterns were learned and others predicted within one call, which nothing can wait for."""
    empty: bool
    """No prediction was made: what stands beside is what some earlier call left in that process."""


class MayDiffer(NamedTuple):
    """Where two answers may differ, in what, and why."""

    where: str
    """Matches the whole path of the field, `body.results[0].unique_id`."""
    level: Callable[[Any, About], Any]
    """Takes away what may differ."""
    why: str


class Difference(NamedTuple):
    path: str
    real: Any
    embedded: Any


ABSENT = type("Absent", (), {"__repr__": lambda _: "absent"})()


def _own_id(value: Any, _about: About) -> Any:
    if isinstance(value, str):
        return re.sub(r"^((?:seq-)?obs-)[0-9a-f]{32}$", r"\1*", value)
    return value


def _minutes_from_now(value: Any, about: About) -> Any:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", value):
        seconds = datetime.fromisoformat(value).timestamp() - about.at
        return f"{round(seconds / 60)} minutes from now"
    return value


def _minutes_left(value: Any, about: About) -> Any:
    if about.kind == "get" and isinstance(value, int):
        return f"{round(value / 60)} minutes"
    return value


def _rank(prediction: dict[str, Any]) -> float:
    value = prediction.get("potential")
    return float(value) if isinstance(value, (int, float)) else math.inf


def _equals_by_name(value: Any, about: About) -> Any:
    """Predictions of equal rank in the order of their names; those that a limit may have cut off are left out."""
    if about.unsettled:
        return "unsettled"
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        return value
    groups: list[list[dict[str, Any]]] = []
    for item in value:
        if groups and math.isclose(_rank(groups[-1][-1]), _rank(item), rel_tol=1e-9, abs_tol=1e-9):
            groups[-1].append(item)
        else:
            groups.append([item])
    if len(value) >= about.max_predictions and groups:
        groups[-1] = [{"one of equal rank": _rank(item)} for item in groups[-1]]
    return [sorted(group, key=lambda item: str(item.get("name"))) for group in groups]


def _futures(value: Any, about: About) -> Any:
    if about.unsettled or about.empty:
        return "left behind"
    if isinstance(value, list):
        return sorted(value, key=lambda item: (-round(item["aggregate_potential"], 9), str(item["future"])))
    return value


def _took(value: Any, _about: About) -> Any:
    if isinstance(value, str):
        return re.sub(r" in \d+(\.\d+)?ms$", " in *ms", value)
    return "*" if isinstance(value, (int, float)) else value


MAY_DIFFER = (
    MayDiffer(r"body(\.results\[\d+\])?\.unique_id", _own_id, "an id that KATO makes is random"),
    MayDiffer(r"body\.(created|expires)_at", _minutes_from_now, "the two are asked one after the other"),
    MayDiffer(r"body\.ttl_seconds", _minutes_left, "what is left of a session's time when it is looked at"),
    MayDiffer(
        r"body\.(predictions|cognition_data\.predictions)",
        _equals_by_name,
        "KATO orders predictions of equal rank by chance, differently after each start",
    ),
    MayDiffer(
        r"body\.future_potentials",
        _futures,
        "equal ones have no order; without predictions they are those of an earlier call in the same process",
    ),
    MayDiffer(r"body\.(time_ms|message)", _took, "how long a finalize-training took"),
)


def levelled(answer: Answer, about: About) -> dict[str, Any]:
    """What is compared of an answer, without what may differ: JSON again."""
    shown: dict[str, Any] = {"status": answer.status, "headers": answer.headers}
    if answer.closes is not None:
        shown["closes the connection"] = answer.closes
    return {**shown, "body": _level("body", answer.body, about)}


def _level(path: str, value: Any, about: About) -> Any:
    for rule in MAY_DIFFER:
        if re.fullmatch(rule.where, path):
            value = rule.level(value, about)
    if isinstance(value, dict):
        return {key: _level(f"{path}.{key}", item, about) for key, item in value.items()}
    if isinstance(value, list):
        return [_level(f"{path}[{index}]", item, about) for index, item in enumerate(value)]
    return value


def differences(real: dict[str, Any], embedded: dict[str, Any]) -> list[Difference]:
    """Every field in which two levelled answers differ; only the status when that does."""
    if real["status"] != embedded["status"]:
        return [Difference("status", real["status"], embedded["status"])]
    found: list[Difference] = []
    for part in dict.fromkeys([*real, *embedded]):
        _compare(part, real.get(part, ABSENT), embedded.get(part, ABSENT), found)
    return found


def _compare(path: str, real: Any, embedded: Any, found: list[Difference]) -> None:
    if isinstance(real, dict) and isinstance(embedded, dict):
        for key in dict.fromkeys([*real, *embedded]):
            _compare(f"{path}.{key}", real.get(key, ABSENT), embedded.get(key, ABSENT), found)
    elif isinstance(real, list) and isinstance(embedded, list):
        if len(real) != len(embedded):
            found.append(Difference(f"{path} (length {len(real)} / {len(embedded)})", real, embedded))
        else:
            for index, (one, other) in enumerate(zip(real, embedded, strict=True)):
                _compare(f"{path}[{index}]", one, other, found)
    elif type(real) is not type(embedded):
        found.append(Difference(path, real, embedded))
    elif isinstance(real, float):
        if not (math.isclose(real, embedded, rel_tol=1e-9, abs_tol=1e-9) or str(real) == str(embedded)):
            found.append(Difference(path, real, embedded))
    elif real != embedded:
        found.append(Difference(path, real, embedded))
