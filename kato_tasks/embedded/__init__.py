"""Provide an embedded stack: everything that a machine with nothing but Python needs to run this project.

``create_app(**options)`` is the embedded KATO as an ASGI application; ``serve_in_thread(**options)`` serves
one and yields its base URL.
"""

from __future__ import annotations

from kato_tasks.embedded.kato.app import App, create_app
from kato_tasks.embedded.kato.server import serve_in_thread

__all__ = ["App", "create_app", "serve_in_thread"]
