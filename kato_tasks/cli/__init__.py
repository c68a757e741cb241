"""``kato-tasks``, and the same group as ``celery -A kato_tasks kato``.

Every ``celery`` command loads this module, so it imports nothing but click; each command's module is loaded
when it is used. Data goes to stdout, talk to stderr. Exit codes: 0 well, 1 bad input or not healthy, 2 a
store or setting cannot be used (click's own code for wrong options, too), 130 stopped with Ctrl-C.
"""

from __future__ import annotations

from kato_tasks.cli.lazy import LazyGroup

kato = LazyGroup(
    "kato",
    {
        "import": "kato_tasks.cli.importing:import_file",
        "sessions": "kato_tasks.cli.sessions:sessions",
        "dead-letters": "kato_tasks.cli.dead_letters:dead_letters",
        "status": "kato_tasks.cli.status:status",
        "wait": "kato_tasks.cli.status:wait",
        "health": "kato_tasks.cli.health:health",
        "config": "kato_tasks.cli.config:config",
        "up": "kato_tasks.cli.stack:up",
        "demo": "kato_tasks.cli.stack:demo",
    },
    help="Events to KATO: once, in session order, whatever dies. Settings: KATO_TASKS_* (see `config`).",
)


def main() -> None:
    """Run the command line; ends the process."""
    kato(prog_name="kato-tasks")


__all__ = ["kato", "main"]
