"""What the plain calls need of Celery for replays: that a replay's chord is sent."""

from __future__ import annotations

from typing import Protocol


class ReplayStarter(Protocol):
    """Sends the tasks of replays. Every method raises BrokerUnavailable if they could not be sent."""

    def start(self, replay_id: str, parts: int) -> str:
        """Send a replay's chord: one task for each part, and the one that verifies and switches. Returns its id."""
        ...

    def clean(self, replay_id: str, old_generations: bool) -> None:
        """Send the task that erases what a replay left."""
        ...
