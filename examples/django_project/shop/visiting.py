"""A visit: a row of the shop's, an event for KATO, and what follows."""

from functools import partial

from celery import chain
from django.db import transaction

from kato_tasks import observe
from shop.models import Visit
from shop.tasks import greet, note_position


def visited(person: str, page: str) -> int:
    """Write the visit down; once that is committed, hand it to KATO and greet the person. Returns the row's id."""
    with transaction.atomic():
        visit = Visit.objects.create(person=person, page=page)
        steps = chain(observe.s(person, {"strings": [page]}, event_id=f"visit {visit.pk}"), note_position.s(visit.pk))
        transaction.on_commit(partial(steps.apply_async))
        greet.delay_on_commit(visit.pk)
    return int(visit.pk)
