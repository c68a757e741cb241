"""Run ``kato-tasks`` as ``python -m kato_tasks.cli``."""

from kato_tasks.cli import main

if __name__ == "__main__":
    main()
