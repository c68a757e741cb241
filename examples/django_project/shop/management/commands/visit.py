"""`python manage.py visit PERSON PAGE...`: visits without a browser."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from shop.models import Visit
from shop.visiting import visited


class Command(BaseCommand):
    """Lets a person visit pages, and waits until KATO and the shop's worker are done with them."""

    help = "Let a person visit pages, in this order."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Who, and which pages."""
        parser.add_argument("person")
        parser.add_argument("pages", nargs="+", metavar="page")

    def handle(self, *_: Any, **given: Any) -> None:
        """Visit, wait, print."""
        made = [visited(given["person"], page) for page in given["pages"]]
        waiting = Visit.objects.filter(pk__in=made).exclude(greeted=True, position__isnull=False)
        until = time.monotonic() + 30
        while waiting.exists():
            if time.monotonic() > until:
                raise CommandError("not done within 30 s: is the shop's worker running, and one that serves KATO?")
            time.sleep(0.1)
        for visit in Visit.objects.filter(pk__in=made).order_by("pk"):
            self.stdout.write(f"{visit}: position {visit.position}, greeted")
