"""Names and placement: node → lane → partition → shard.

KATO replaces some characters of a ``node_id`` before it uses it, so two node ids can be one knowledge base. The lane is
the name after that replacement (measured on KATO 3.10.1, ``kato/processors/processor_manager.py``).
"""

from __future__ import annotations

import hashlib
import re
import zlib

from kato_tasks.errors import InvalidEvent

PARTITIONS = 256
"""How many partitions the store has. This never changes, because keys are named after them."""

MAX_ID_CHARS = 512
MAX_NODE_CHARS = 200

_SANITISED = str.maketrans(dict.fromkeys('/\\."$*<>:|?- ', "_"))
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_UNSAFE_IN_NODE = re.compile(r"[\x00-\x1f\x7f'\ud800-\udfff]")
_DERIVED = re.compile(r"~[0-9a-f]{12}$")


def lane_of(node_id: str) -> str:
    """Return the lane of a node: its name as KATO sanitises it."""
    return node_id.translate(_SANITISED)


def partition_of(name: str) -> int:
    """Return the partition (0 to 255) that holds a lane's keys: the CRC-32 of its UTF-8, which never changes."""
    return zlib.crc32(name.encode()) % PARTITIONS


def shard_of(partition: int, shards: int) -> int:
    """Return the shard (Celery queue) that serves a partition."""
    return partition % shards


CONTROL_QUEUE = "kato.control"
"""The Celery queue of sweeps, keep-alives and wake-ups that overtake a shard's own queue."""
REPLAY_QUEUE = "kato.replay"
"""The Celery queue of replays."""


def queue_of(shard: int) -> str:
    """Return the Celery queue of a shard: ``kato.lane.00`` and so on."""
    return f"kato.lane.{shard:02d}"


def check_text_id(field: str, value: str, max_chars: int = MAX_ID_CHARS) -> str:
    """Return an id that the store and KATO can carry. Raises InvalidEvent, which names ``field``."""
    if not value:
        raise InvalidEvent(field, "must not be empty")
    if len(value) > max_chars:
        raise InvalidEvent(field, f"has {len(value)} characters, at most {max_chars} are allowed")
    if _SURROGATE.search(value):
        raise InvalidEvent(field, "holds half of a surrogate pair, which is no valid Unicode text")
    return value


def check_event_id(value: str) -> str:
    """Return an event_id, which is text without control characters. Raises InvalidEvent for anything else."""
    check_text_id("event_id", value)
    if _CONTROL.search(value):
        raise InvalidEvent("event_id", "holds a control character; use printable text")
    return value


def node_problem(node_id: str) -> str | None:
    """Return why KATO cannot take this node name, or None. Every rule was measured on KATO 3.10.1."""
    if not node_id:
        return "must not be empty"
    if len(node_id) > MAX_NODE_CHARS:
        return f"has {len(node_id)} characters, at most {MAX_NODE_CHARS} are allowed"
    if "'" in node_id:
        return "holds a ' (apostrophe), with which KATO creates a session and then answers 500; leave it out"
    if _UNSAFE_IN_NODE.search(node_id):
        return "holds a control character or half of a surrogate pair; use printable text"
    if lane_of(node_id).startswith("test_"):
        return "begins with test_, and KATO drops the patterns of such nodes; choose another name"
    return None


def check_node_id(node_id: str) -> str:
    """Return an explicit node_id that KATO can take. Raises InvalidEvent for any other."""
    problem = node_problem(node_id)
    if problem:
        raise InvalidEvent("node_id", problem)
    return node_id


def default_node(session_id: str) -> str:
    """Return what KATO is told as the node of a session that names none: its own id, where KATO leaves that as it is.

    Otherwise KATO would write different ids as one (``a.b``, ``a-b``) and mix their memories. So the name then keeps
    what is readable, and ends in 12 digits of the id's SHA-1. It stays within the 55 characters that KATO does not cut.
    An id that looks like such a name gets digits, too, so that it never meets the name of another.
    """
    if node_problem(session_id) is None and lane_of(session_id) == session_id and not _DERIVED.search(session_id):
        return session_id
    readable = lane_of(_UNSAFE_IN_NODE.sub("_", session_id))
    if readable.startswith("test_"):
        readable = f"s_{readable}"
    return f"{readable[:40]}~{_digits(session_id)}"


def _default_before(session_id: str) -> str:
    """Return what ``default_node`` was before it told such ids apart. Sessions that were bound by it keep it."""
    if node_problem(session_id) is None:
        return session_id
    return f"s_{_UNSAFE_IN_NODE.sub('_', session_id)[:100]}_{_digits(session_id)}"


def _digits(session_id: str) -> str:
    return hashlib.sha1(session_id.encode(), usedforsecurity=False).hexdigest()[:12]


def node_id_of(session_id: str, node: str) -> str:
    """Return the node_id by which callers know a session's node: the session's own id, where that is the default."""
    if node == session_id or node in (default_node(session_id), _default_before(session_id)):
        return session_id
    return node


def belongs(session_id: str, node_id: str | None, node: str) -> bool:
    """Return whether an event that names ``node_id`` may go to its session's node. A session's id is the default."""
    return node_id is None or node_id == node or node_id == node_id_of(session_id, node)


def pick_instance(lane: str, urls: tuple[str, ...]) -> str:
    """Return the KATO instance of a lane, by rendezvous hashing: it stays the same when others come and go."""
    if len(urls) == 1:
        return urls[0]
    return max(urls, key=lambda url: zlib.crc32(f"{url}\n{lane}".encode()))
