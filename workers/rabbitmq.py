"""A listener: appends what comes in a queue of RabbitMQ to the log, as `kato-tasks listen rabbitmq` does.

    python -m workers.rabbitmq [options of the command]

Settings come from KATO_TASKS_* variables or a .env file; KATO_TASKS_RABBITMQ_URL says where the
broker is. Start two: one reads, and the other takes over when it is gone.
It needs no access to KATO. A container's health check is `kato-tasks health listener`.
"""

import sys

from kato_tasks.cli import kato


def main(arguments: list[str] | None = None) -> None:
    """Listen until SIGTERM; what was read is appended and acknowledged first."""
    given = sys.argv[1:] if arguments is None else arguments
    kato.main(["listen", "rabbitmq", *given], prog_name="python -m workers.rabbitmq")


if __name__ == "__main__":
    main()
