"""Beat: sends the periodic tasks of the application's own schedule.

    python -m beat.schedule [arguments of `celery beat`]

Settings come from KATO_TASKS_* variables or a .env file, as for `celery -A kato_tasks beat`: this is the
same.
"""

import sys

from kato_tasks.celery_app import app


def main(arguments: list[str] | None = None) -> None:
    """Run until SIGTERM."""
    given = sys.argv[1:] if arguments is None else arguments
    app.start(["beat", "--loglevel", "INFO", *given])


if __name__ == "__main__":
    main()
