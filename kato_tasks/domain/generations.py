"""Generations of a node: the names under which KATO is told a node that is being rebuilt, and who fills it.

A replay fills a node of another name from the history and then has the live lane switched to it
(``ports/generations.py``). The sessions with which it does so are shadows: each is named after a real one.
"""

from __future__ import annotations

import hashlib
import re

from kato_tasks.domain.ids import MAX_ID_CHARS, lane_of

READABLE_CHARS = 40
"""How much of a node's name its generations keep. KATO cuts names of more than 55 characters, and hashes the rest."""
_REPLAY_ID = re.compile(r"[0-9a-f]{12}")
_SHADOW = re.compile(r"replay:[0-9a-f]{12}:(?s:.)")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f'\ud800-\udfff]")


def generation_name(node: str, replay_id: str, attempt: int = 1) -> str:
    """Return the name under which KATO is told this node when this replay builds it; ``attempt`` counts from 1.

    It has 53 characters at most, and none that KATO writes otherwise. It keeps what is readable of the node's name and
    ends in ``~`` and 12 digits, which are made of the whole lane, the replay and the attempt. So two lanes, replays or
    attempts never share a node, and no session is given such a node by default (``ids.default_node``). Node ids that
    are one lane (``a-b``, ``a_b``) have the same generations.
    """
    lane = lane_of(node)
    readable = _UNSAFE.sub("_", lane)
    if readable.startswith("test_"):
        readable = f"s_{readable}"
    digits = _sha1(f"{replay_id}\n{attempt}\n{lane}")[:12]
    return f"{readable[:READABLE_CHARS]}~{digits}"


def shadow_session(replay_id: str, session_id: str) -> str:
    """Return the id of the session that stands for ``session_id`` in a replay.

    It is ``replay:<replay id>:<session id>``. Where that would be longer than a session id may be, ``#`` and the SHA-1
    of the session id stand in its place. Raises ValueError if ``replay_id`` is not 12 hexadecimal digits.
    """
    if not _REPLAY_ID.fullmatch(replay_id):
        raise ValueError(f"a replay's id has 12 hexadecimal digits; {replay_id!r} is not such an id")
    shadow = f"replay:{replay_id}:{session_id}"
    return shadow if len(shadow) <= MAX_ID_CHARS else f"replay:{replay_id}:#{_sha1(session_id)}"


def is_shadow_session(session_id: str) -> bool:
    """Return whether a session has the name of one that stands for another in a replay."""
    return _SHADOW.match(session_id) is not None


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
