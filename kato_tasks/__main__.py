"""``python -m kato_tasks``: the same as ``kato-tasks``."""

from kato_tasks.cli import main

if __name__ == "__main__":
    main()
