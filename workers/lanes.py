"""The lane worker: takes wake-ups from every shard's queue and drains the lanes that have work.

    python -m workers.lanes [arguments of `celery worker`]

Settings come from KATO_TASKS_* variables or a .env file, as for `celery -A kato_tasks worker`: this is
the same. Arguments given here are passed on and win, e.g. `--pool threads --concurrency 8`, or
`-Q kato.lane.00,kato.lane.01` to serve some shards only.
"""

import sys

from kato_tasks.celery_app import app


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM, which finishes the running slices and then ends."""
    given = sys.argv[1:] if arguments is None else arguments
    app.worker_main(["worker", "--loglevel", "INFO", *given])


if __name__ == "__main__":
    main()
