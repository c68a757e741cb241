"""A listener: appends what comes in a topic of Kafka to the log, as `kato-tasks listen kafka` does.

    python -m workers.kafka [options of the command]

Settings come from KATO_TASKS_* variables or a .env file; KATO_TASKS_KAFKA_BOOTSTRAP says where the
broker is. Start several: Kafka shares out the partitions of the topic among them.
It needs no access to KATO. A container's health check is `kato-tasks health listener`.
"""

import sys

from kato_tasks.cli import kato


def main(arguments: list[str] | None = None) -> None:
    """Listen until SIGTERM; what was read is appended and acknowledged first."""
    given = sys.argv[1:] if arguments is None else arguments
    kato.main(["listen", "kafka", *given], prog_name="python -m workers.kafka")


if __name__ == "__main__":
    main()
