"""Operations that switch a lane to another generation of its node, which a replay has filled at KATO.

The one who switches takes the lane, so that nothing is sent to KATO for it meanwhile, applies to the new node what the
old one got since, switches, and gives the lane back. Sessions stay bound to KATO sessions of the old node. Each leaves
its own before anything more is sent for it: its STM is built again from its log, on the new node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kato_tasks.ports.effects import Effect
from kato_tasks.ports.lanes import Lease

Switched = Literal["done", "other", "open"]
"""What became of a switch: the lane has the generation; it had another one than was expected; an intent is open."""


@dataclass(frozen=True, slots=True)
class TakeLane(Effect[bool]):
    """Take a lane by its name for ``lease_ms``, whether or not anything is due in it. Answers False if it is not free.

    No session becomes due by this. A caller that holds the lane with this token already still holds it, and its lease
    is renewed.
    """

    lane: str
    token: str
    lease_ms: int


@dataclass(frozen=True, slots=True)
class GiveLaneBack(Effect[int | None]):
    """End a lease, so that what is pending in the lane is due again.

    Answers when that is (milliseconds of the store's clock; -1: the lane has nothing to do), or None if the caller does
    not hold the lane, or has given it back already.
    """

    lease: Lease


@dataclass(frozen=True, slots=True)
class OpenIntents(Effect[list[str]]):
    """Find the sessions of a lane whose intent is open, ``most`` of them: their last call to KATO is not reconciled.

    The answer holds while the caller has the lane. It is looked up among the lane's pending sessions and the parked
    ones of its partition, where every session with an open call is, in time proportional to their number.
    """

    lane: str
    most: int = 100


@dataclass(frozen=True, slots=True)
class SwitchGeneration(Effect[Switched]):
    """Tell KATO another node for all sessions of the lane from now on. Raises LeaseLost.

    ``generation`` is that node, and '' is the node of each session as it was given. The lane's present generation must
    be ``from_generation`` ("other" if it is not), and no intent may be open in the lane ("open"). What the lane knows
    of its node is dropped: the frequencies of its last learns, the pattern that it knows to be there, of which
    ``known_pattern`` takes the place ('' for none), and the flags that say that its patterns are lost or in doubt. The
    same switch once more changes nothing.
    """

    lease: Lease
    generation: str
    from_generation: str
    known_pattern: str = ""


@dataclass(frozen=True, slots=True)
class GenerationOf(Effect[str]):
    """Read the node that KATO is told for all sessions of a lane; '' if that is the node of each as it was given."""

    lane: str
