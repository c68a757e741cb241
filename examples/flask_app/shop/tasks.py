"""The shop's own tasks. They go to the shop's own queue and run in the shop's own worker, as ever."""

from typing import Any

from celery import shared_task

from shop import pages


@shared_task
def greet(person: str, visit: str) -> None:
    """A task that has nothing to do with KATO."""
    pages.note(person, visit, greeted=True)


@shared_task
def note_position(observed: dict[str, Any], person: str, visit: str) -> None:
    """The step after `observe`: it may run twice, which changes nothing."""
    pages.note(person, visit, position=observed["position"])
