"""Provide the command line: ``kato-tasks``, and the same commands as ``celery -A kato_tasks kato``.

Every ``celery`` command loads this module, so it imports nothing but click; each command's module is loaded
when it is used. Data goes to stdout, and messages go to stderr. The exit codes are: 0 when all is well, 1 for bad
input or an unhealthy system, 2 when a store or setting cannot be used (click also uses it for wrong options), and
130 when Ctrl-C stopped the command.
"""

from __future__ import annotations

import click

from kato_tasks.cli.lazy import LazyGroup
from kato_tasks.version import __version__

kato = LazyGroup(
    "kato",
    {
        "import": "kato_tasks.cli.importing:import_file",
        "sessions": "kato_tasks.cli.sessions:sessions",
        "dead-letters": "kato_tasks.cli.dead_letters:dead_letters",
        "replay": "kato_tasks.cli.replays:replay",
        "acknowledge": "kato_tasks.cli.acknowledging:acknowledge",
        "status": "kato_tasks.cli.status:status",
        "wait": "kato_tasks.cli.status:wait",
        "health": "kato_tasks.cli.health:health",
        "config": "kato_tasks.cli.config:config",
        "db": "kato_tasks.cli.archive_tables:db",
        "keys": "kato_tasks.cli.keys:keys",
        "serve": "kato_tasks.cli.serving:serve",
        "listen": "kato_tasks.cli.listening:listen",
        "up": "kato_tasks.cli.stack:up",
        "demo": "kato_tasks.cli.stack:demo",
    },
    sections={
        "Run everything on this machine": ("up", "demo"),
        "Bring events in": ("serve", "listen", "import"),
        "Look": ("status", "wait", "config", "health"),
        "Look, and mend": ("sessions", "dead-letters", "replay", "acknowledge"),
        "Set up": ("db", "keys"),
    },
    help="Apply events to KATO once and in session order, whatever dies. Settings are KATO_TASKS_* (see `config`).",
    epilog="Data goes to stdout, and messages go to stderr. Scripts should use --json. The exit code is 0 if all is "
    "well; 1 if the input is bad, something is not healthy, or it was not done in time; 2 if the options are wrong, or "
    "a store or setting cannot be used; and 130 if Ctrl-C stopped the command.",
)
click.version_option(__version__, "-V", "--version", prog_name="kato-tasks", message="%(prog)s %(version)s")(kato)


def main() -> None:
    """Run the command line and end the process with its exit code."""
    kato(prog_name="kato-tasks")


__all__ = ["kato", "main"]
