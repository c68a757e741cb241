"""``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from starlette.requests import Request

from kato_tasks.api.readiness import Readiness, read_readiness
from kato_tasks.http_server.context import Context
from kato_tasks.http_server.metrics import MEDIA_TYPE
from kato_tasks.http_server.needing import context_of, needs

router = APIRouter(tags=["health"])
_READY = {"status": "ok", "ready": True, "checks": [{"name": "store", "ok": True, "reason": None}]}


@router.get("/healthz", responses={200: {"content": {"application/json": {"example": {"status": "ok"}}}}})
async def healthz() -> dict[str, str]:
    """Say that this process answers. It asks nothing else, so a restart would help if it does not answer."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    responses={
        200: {"content": {"application/json": {"example": _READY}}},
        503: {"model": Readiness, "description": "Events are not accepted now."},
    },
)
async def readyz(request: Request, response: Response) -> Readiness:
    """Say whether events are accepted (200, else 503), and whether they are applied, too (`status`)."""
    context = context_of(request)
    readiness = await asyncio.to_thread(read_readiness, context.runtime)
    if context.stopping.is_set():
        readiness = readiness.model_copy(update={"ready": False, "status": "unavailable"})
    if not readiness.ready:
        response.status_code = 503
    return readiness


@router.get(
    "/metrics",
    dependencies=[needs("read")],
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}, "example": "kato_tasks_backlog 12.0"}}}},
)
async def metrics(context: Annotated[Context, Depends(context_of)]) -> Response:
    """Return the figures of this process and of the whole system in Prometheus' text format."""
    return Response(await asyncio.to_thread(context.metrics.text), media_type=MEDIA_TYPE.decode())
