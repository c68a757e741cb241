"""Run programs of the engine that only read, side by side: for those who verify."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from kato_tasks.bootstrap import Runtime
from kato_tasks.engine.running.driver import Driver, Finished
from kato_tasks.ports.effects import Program

T = TypeVar("T")
AT_ONCE = 32
"""How many programs run side by side."""


def run_programs(rt: Runtime, programs: Sequence[tuple[str, Program[T]]]) -> list[Finished[T]]:
    """Run programs to their ends, and return how each ended, by its key: with a value, or with an error."""
    finished: list[Finished[T]] = []
    for start in range(0, len(programs), AT_ONCE):
        driver: Driver[T] = Driver(rt.store, rt.kato)
        finished += driver.run(programs[start : start + AT_ONCE])
    return finished
