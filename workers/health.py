"""Whether the worker takes messages, for a container's health check: `kato-tasks health worker`.

python -m workers.health [--within SECONDS]
"""

import sys

from kato_tasks.cli import kato


def main(arguments: list[str] | None = None) -> None:
    """End with 0 when waiting messages are taken; else with 1, and say which are not."""
    kato.main(["health", "worker", *(sys.argv[1:] if arguments is None else arguments)], prog_name="python -m workers")


if __name__ == "__main__":
    main()
