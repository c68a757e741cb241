"""Erase one session from the store, for a person who asks for it: what is left of it is found, and erased.

The one who forgets a session takes its lane (``ports/generations.py``), so that nothing of it is applied meanwhile.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from kato_tasks.ports.effects import Effect
from kato_tasks.ports.lanes import Lease

Forgot = Literal["done", "unapplied", "open"]
"""What became of a session that was to be forgotten: it is gone; it has events or predicts that are not applied; its
last call to KATO is not reconciled."""


@dataclass(frozen=True, slots=True)
class ForgetCommits(Effect[int]):
    """Take a session's name out of what the commits of its lane tell. Raises LeaseLost.

    ``most`` commits are looked at, from the place ``first`` in the lane's order. Answers the place at which to go on,
    and 0 when no commit is left to look at. Who reads the lane passes over a commit without a name, as over that of a
    session that is gone.
    """

    lease: Lease
    session: str
    first: int
    most: int = 2_000


@dataclass(frozen=True, slots=True)
class ForgetSession(Effect[Forgot]):
    """Erase a session with everything that its lane's partition holds of it, in one step. Raises LeaseLost.

    ``ids`` are remembered event ids, each with the dedupe bucket in which it is; ``results`` are the event ids of kept
    results and of requests that wait for one, and ``letters`` names of dead letters. With ``whole`` the lane goes, too,
    unless anything of another session is in it. A session with something left to do is left as it is, and the answer
    says what that is. A session that is gone already is "done".
    """

    lease: Lease
    session: str
    ids: Sequence[tuple[str, str]]
    results: Sequence[str]
    letters: Sequence[str]
    whole: bool = False


@dataclass(frozen=True, slots=True)
class ForgetIds(Effect[None]):
    """Forget that these event ids of a session were seen, each with the dedupe bucket in which it is."""

    lane: str
    session: str
    ids: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ForgetNode(Effect[None]):
    """Forget which node a session belongs to, once everything else of it is gone."""

    session: str


@dataclass(frozen=True, slots=True)
class Traces:
    """What the store holds of a session beside its state and its log.

    ``ids``: event ids, each with its dedupe bucket. ``results`` and ``waiting``: event ids of kept results, and of
    requests that wait for one. ``letters``: the lane and the name of each dead letter. ``scheduled`` and
    ``unpublished``: the partition and the text of each event that waits for its time, and of each task message that
    could not be published.
    """

    ids: tuple[tuple[str, str], ...] = ()
    results: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    letters: tuple[tuple[str, str], ...] = ()
    scheduled: tuple[tuple[int, str], ...] = ()
    unpublished: tuple[tuple[int, str], ...] = ()


class FindTraces(Protocol):
    """Finds what the store holds of a session beside its state and its log."""

    @abstractmethod
    def of_session(self, session: str, lane: str) -> Traces:
        """Look through the keys of the store, and through what the lane's partition remembers.

        Nothing is held up by this, but it takes time in proportion to the store. Raises StoreUnavailable.
        """
