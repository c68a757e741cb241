"""Note what has changed since it was last written down, for a KATO that keeps its state in a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kato_tasks.embedded.kato.sessions import Node, Session


class Changes:
    """Collects what calls change while they are carried out. It is written down before their answers are sent.

    A KATO that keeps its state in memory only has None in the place of this object, and collects nothing.
    """

    __slots__ = ("gone", "lost_all", "nodes", "sessions", "vectors")

    def __init__(self) -> None:
        self.lost_all = False
        """Whether everything from before is gone. The other fields say what came after that."""
        self.sessions: set[Session] = set()
        """The sessions that are new or whose state has changed."""
        self.gone: set[Session] = set()
        self.nodes: set[Node] = set()
        """The nodes whose patterns changed. Each node knows which."""
        self.vectors: set[str] = set()
        """The names of the nodes whose vectors may have changed."""

    def __bool__(self) -> bool:
        return bool(self.sessions or self.nodes or self.vectors or self.gone or self.lost_all)

    def lose_all(self) -> None:
        """Note that every session, pattern and vector is gone."""
        self.clear()
        self.lost_all = True

    def clear(self) -> None:
        """Note that all changes are written down."""
        self.lost_all = False
        for one in (self.sessions, self.gone, self.nodes, self.vectors):
            one.clear()
