"""The HTTP server: takes events and answers questions, as `kato-tasks serve` does.

    python -m workers.http [--host H] [--port P]

Settings come from KATO_TASKS_* variables or a .env file. In a container it listens on --host 0.0.0.0, for which it
needs a key: make the first one with `kato-tasks keys create --scope write`.
"""

import sys

from kato_tasks.cli import kato


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM; requests under way are answered first."""
    kato.main(["serve", *(sys.argv[1:] if arguments is None else arguments)], prog_name="python -m workers.http")


if __name__ == "__main__":
    main()
