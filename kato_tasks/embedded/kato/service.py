"""Answer KATO's routes that are about the service as a whole."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from kato_tasks.embedded.kato.kato import Kato
from kato_tasks.kato_wire.answers import Answer, ok

VERSION = "3.10.1"
"""The version of KATO that is imitated here."""
_DESCRIPTION = "Knowledge Abstraction for Traceable Outcomes with Multi-User Support"


def root(kato: Kato) -> Answer:
    """Answer with the description that the service gives of itself."""
    return ok(
        {
            "service": "KATO API",
            "version": VERSION,
            "description": _DESCRIPTION,
            "docs": "/docs",
            "health": "/health",
            "status": "running",
            "uptime_seconds": time.time() - kato.started,
            "architecture": "modular",
            "session_support": True,
        }
    )


def health(kato: Kato) -> Answer:
    """Answer that the service is healthy. The answer is 200 even while one of KATO's databases is down."""
    now = time.time()
    return ok(
        {
            "status": "healthy",
            "processor_status": "healthy",
            "service_name": "kato",
            "uptime_seconds": now - kato.started,
            "issues": [],
            "metrics_collected": 0,
            "last_collection": kato.started,
            "active_sessions": kato.sessions.kept(),
            "timestamp": datetime.fromtimestamp(now, UTC).isoformat(),
        }
    )


def count(kato: Kato) -> Answer:
    """Answer with the number of sessions."""
    return ok({"active_session_count": kato.sessions.kept()})


def openapi(methods: dict[str, list[str]]) -> Answer:
    """Answer with the paths that are served here and their methods. KATO's own answer tells more."""
    paths: dict[str, Any] = {}
    for path, allowed in methods.items():
        names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
        paths[path] = {
            method: {"parameters": parameters, "responses": {"200": {"description": "Successful Response"}}}
            for method in allowed
        }
    info = {"title": "KATO API", "description": _DESCRIPTION, "version": VERSION}
    return ok({"openapi": "3.1.0", "info": info, "paths": paths})
