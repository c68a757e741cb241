"""What routes of the application ask for: the server's pieces, and a key with a scope."""

from __future__ import annotations

from typing import Any

from fastapi import Depends
from starlette.requests import Request

from kato_tasks.domain.api_keys import ApiKey, Scope
from kato_tasks.http_server.context import Context


def context_of(request: Request) -> Context:
    """Return the pieces of this server process."""
    context: Context = request.app.state.context
    return context


def needs(scope: Scope) -> Any:
    """Return a dependency that lets in only requests with a key that allows ``scope``. It gives the key."""

    def admitted(request: Request) -> ApiKey:
        return context_of(request).access.admit(request.scope, scope)

    return Depends(admitted)
