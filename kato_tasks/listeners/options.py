"""How a listener reads: what becomes of messages, and what KATO is asked after them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kato_tasks.api.decoding import Decoder
from kato_tasks.domain.log_entry import also_done

Predict = Literal["every", "last", "asked"] | int
"""After which observations KATO is asked for predictions for a sink: after every one, after the session's last one
while no other follows, after those whose metadata has ``predict: true``, or after each position that a number
divides."""


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """What a listener does with messages.

    ``batch`` is how many messages are appended together at most, and ``message_bytes`` how large one may be.
    ``decoder`` reads them, and ``decoder_name`` is how it is named; without one they have the standard form.
    ``learn_every`` appends a learn after so many events of a session (0: none). ``sink`` names where predictions go
    (''; nowhere), and ``predict`` after which observations. While more than ``sink_backlog`` of them wait to be sent
    there, nothing is read. The listener ends by itself when nothing came for ``until_idle`` seconds (0: never).
    """

    batch: int = 1_000
    message_bytes: int = 1_048_576
    decoder: Decoder | None = None
    decoder_name: str = ""
    learn_every: int = 0
    sink: str = ""
    predict: Predict = "every"
    sink_backlog: int = 10_000
    until_idle: float = 0.0

    def also(self, *, own_id: bool, asked: bool) -> str:
        """Return what else is done when an observation is appended (``Entry.also``).

        ``own_id``: the event has an id of its own. ``asked``: its metadata asks for predictions.
        """
        every: int | None = None
        if self.sink:
            if isinstance(self.predict, int):
                every = self.predict
            else:
                every = {"every": 1, "last": 0, "asked": 1 if asked else None}[self.predict]
        return also_done(own_id=own_id, predict_every=every, learn_every=self.learn_every)
