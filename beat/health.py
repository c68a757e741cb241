"""Whether beat sends its tasks, for a container's health check: `kato-tasks health beat`.

python -m beat.health [--within SECONDS]
"""

import sys

from kato_tasks.cli import kato


def main(arguments: list[str] | None = None) -> None:
    """End with 0 when beat has sent its tasks lately; else with 1, and say since when not."""
    kato.main(["health", "beat", *(sys.argv[1:] if arguments is None else arguments)], prog_name="python -m beat")


if __name__ == "__main__":
    main()
