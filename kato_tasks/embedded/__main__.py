"""Serve the embedded KATO: ``python -m kato_tasks.embedded``."""

from __future__ import annotations

import sys

from kato_tasks.embedded.kato.cli import main

if __name__ == "__main__":
    sys.exit(main())
