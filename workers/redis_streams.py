"""A listener: appends what comes in a Redis stream to the log, as `kato-tasks listen redis` does.

    python -m workers.redis_streams [options of the command]

Settings come from KATO_TASKS_* variables or a .env file; KATO_TASKS_STREAMS_URL says where the
broker is. Start two: one reads, and the other takes over when it is gone.
It needs no access to KATO. A container's health check is `kato-tasks health listener`.
"""

import sys

from kato_tasks.cli import kato


def main(arguments: list[str] | None = None) -> None:
    """Listen until SIGTERM; what was read is appended and acknowledged first."""
    given = sys.argv[1:] if arguments is None else arguments
    kato.main(["listen", "redis", *given], prog_name="python -m workers.redis_streams")


if __name__ == "__main__":
    main()
