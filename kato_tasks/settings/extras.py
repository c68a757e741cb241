"""Which extras this installation has, and the one sentence for what needs one that is missing.

``pip install kato-tasks`` alone calls tasks, appends events and reads sessions. What else a process can do needs
packages that come with an extra. This is the only place that knows which package belongs to which extra.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

from kato_tasks.errors import ConfigurationError

BROUGHT_BY = {
    "worker": {"redbeat": "celery-redbeat", "httptools": "httptools"},
    "httpx": {"httpx": "httpx"},
    "flower": {"flower": "Flower"},
    "cli": {"rich": "rich"},
    "http": {
        "fastapi": "FastAPI",
        "httptools": "httptools",
        "prometheus_client": "prometheus-client",
        "uvicorn": "uvicorn",
    },
    "kafka": {"confluent_kafka": "confluent-kafka"},
    "archive": {"sqlalchemy": "SQLAlchemy", "psycopg": "psycopg", "alembic": "alembic"},
}
"""The modules that each extra needs, and the name under which each module is known.

Without ``hiredis`` the answers of Redis are read more slowly, and without ``uvloop`` the embedded KATO is slower.
Everything works all the same, so they are not asked for here.
"""
BROUGHT_BY["embedded"] = {
    module: package
    for extra in ("worker", "flower", "cli", "http", "archive")
    for module, package in BROUGHT_BY[extra].items()
}


@cache
def has_module(name: str) -> bool:
    """Whether a top-level module is installed. It is not imported."""
    return find_spec(name) is not None


def missing(extra: str) -> list[str]:
    """The names of the packages of an extra that it cannot do without and that are not installed."""
    return [package for module, package in BROUGHT_BY[extra].items() if not has_module(module)]


def sentence(what: str, packages: list[str], extra: str) -> str:
    """What a person reads where ``what`` cannot be done: the packages that are missing, and the command to give."""
    *first, last = packages
    named = f"{', '.join(first)} and {last}" if first else last
    verb = "which are" if first else "which is"
    return f"{what} needs {named}, {verb} not installed: pip install 'kato-tasks[{extra}]'"


def require(what: str, extra: str) -> None:
    """Return if what the extra brings is installed.

    ``what`` is the subject of the sentence otherwise, such as ``kato-tasks up``. Raises ConfigurationError, which
    names the packages that are missing and the command that installs them.
    """
    if packages := missing(extra):
        raise ConfigurationError(sentence(what, packages, extra))


__all__ = ["BROUGHT_BY", "has_module", "missing", "require", "sentence"]
