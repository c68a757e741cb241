"""The shop's web application: page views go to KATO, and no request holds up another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from celery.exceptions import TimeoutError as CeleryTimeoutError
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from kato_tasks import aget, append_events_async, learn, observe, predict
from kato_tasks.errors import InvalidEvent, StoreUnavailable
from shop.tasks import receipt


class View(BaseModel):
    """A page that a visitor looks at. A browser that repeats a request sends the same ``event_id`` again."""

    session_id: str
    page: str
    event_id: str | None = None


class Order(BaseModel):
    session_id: str
    articles: list[str]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Start only with a store that can be used. What was opened on the event loop is closed with it."""
    await append_events_async([])
    yield


app = FastAPI(title="shop", lifespan=lifespan)


@app.exception_handler(InvalidEvent)
async def invalid(request: Request, exc: InvalidEvent) -> JSONResponse:
    """Say which field is wrong, in the form in which FastAPI itself says it."""
    return JSONResponse({"detail": [{"loc": ["body", *exc.field.split(".")], "msg": exc.reason}]}, 422)


@app.exception_handler(StoreUnavailable)
async def unavailable(request: Request, exc: StoreUnavailable) -> JSONResponse:
    """Nothing was accepted, so the client may send the request again."""
    return JSONResponse({"detail": str(exc)}, 503, {"Retry-After": "2"})


@app.post("/views", status_code=202)
async def view(seen: View) -> dict[str, str]:
    """Accept a page view: when this answers, its event is in the store."""
    result = await observe.adelay(seen.session_id, {"strings": [seen.page]}, event_id=seen.event_id)
    return {"task": result.id}


@app.get("/next")
async def following(session_id: str, timeout: float = 5.0) -> dict[str, Any]:
    """What the visitor will probably look at next, as of every view that was accepted before."""
    result = await predict.adelay(session_id)
    try:
        answer = await result.aget(timeout=timeout)
    except CeleryTimeoutError:
        raise HTTPException(504, f"KATO has not answered within {timeout:g} s; ask again later") from None
    best = answer["predictions"][:1]
    return {"next": best[0]["future"] if best else []}


@app.post("/orders")
async def order(bought: Order) -> dict[str, Any]:
    """The end of a visit: have KATO learn it, and the shop's own worker write the receipt."""
    learned = await learn.adelay(bought.session_id)
    # A task of an app that knows no adelay: Celery's own delay blocks, so it is called in a thread.
    written = await asyncio.to_thread(receipt.delay, bought.session_id, bought.articles)
    status, text = await asyncio.gather(learned.aget(timeout=20), aget(written, timeout=20))
    return {"visit": status["status"], "receipt": text}
