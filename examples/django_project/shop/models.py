"""What the shop itself remembers."""

from django.db import models


class Visit(models.Model):
    """A page that a person saw."""

    person = models.CharField(max_length=200)
    page = models.CharField(max_length=200)
    greeted = models.BooleanField(default=False)
    # Its place in the person's session, once KATO has it.
    position = models.PositiveIntegerField(null=True)

    def __str__(self) -> str:
        return f"{self.person} saw {self.page}"
