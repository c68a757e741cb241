"""``/v1/tasks``: how a task of ``.delay()`` stands, and what it returned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from kato_tasks.celery_app import app
from kato_tasks.domain.api_keys import ApiKey
from kato_tasks.http_server.needing import Name, Reader, shown_as
from kato_tasks.http_server.problems import Problem

router = APIRouter(prefix="/v1/tasks", tags=["tasks"])
_DONE = {"id": "6f1c", "state": "SUCCESS", "result": {"status": "okay", "session_id": "visitor-17", "position": 1}}


class TaskError(BaseModel):
    """Why a task failed."""

    type: str = Field(examples=["EventRefused"])
    message: str


class TaskStatus(BaseModel):
    """How a task stands. `PENDING` is also the state of a task that nobody sent or whose result has expired."""

    id: str
    state: str = Field(examples=["SUCCESS"])
    result: Any = None
    error: TaskError | None = None
    session_id: str | None = None
    position: int | None = None
    waits_for: str | None = Field(default=None, description="what a task in the state WAITING waits for")


@router.get("/{task_id}", responses=shown_as(_DONE))
def read_task(task_id: Name, key: Reader) -> TaskStatus:
    """Say how a task stands, and what it returned or why it failed."""
    try:
        meta: Mapping[str, Any] = app.AsyncResult(task_id)._get_task_meta()  # noqa: SLF001  one read for all of it
    except Exception as exc:
        raise Problem(503, "The result backend does not answer. Repeat the request later.") from exc
    state, told = str(meta["status"]), meta.get("result")
    found: dict[str, Any] = {"id": task_id, "state": state}
    if isinstance(told, BaseException):
        found["error"] = TaskError(type=type(told).__name__, message=str(told))
    elif state == "WAITING" and isinstance(told, Mapping):
        found |= {name: told.get(name) for name in ("session_id", "position", "waits_for")}
    elif state == "SUCCESS":
        found["result"] = told
        if isinstance(told, Mapping):
            found |= {name: told.get(name) for name in ("session_id", "position") if name in told}
    return _within_reach(key, TaskStatus(**found))


def _within_reach(key: ApiKey, status: TaskStatus) -> TaskStatus:
    """Return the status if the key reaches its session. Of a task whose session is not known only the state is told."""
    if not key.session_prefix:
        return status
    if status.session_id is None:
        return TaskStatus(id=status.id, state=status.state)
    if not key.reaches(status.session_id):
        raise Problem(403, "The key does not reach the task's session.")
    return status


__all__ = ["router"]
