"""The shop's own tasks. They go to the shop's own queue and run in the shop's own worker, as ever."""

from typing import Any

from celery import shared_task

from shop.models import Visit


@shared_task
def greet(visit: int) -> None:
    """A task that has nothing to do with KATO."""
    Visit.objects.filter(pk=visit).update(greeted=True)


@shared_task
def note_position(observed: dict[str, Any], visit: int) -> None:
    """The step after `observe`: it may run twice, which changes nothing."""
    Visit.objects.filter(pk=visit).update(position=observed["position"])
