"""The names that KATO makes of a node's id."""

from __future__ import annotations

import hashlib

_UNSAFE = str.maketrans(dict.fromkeys('/\\."$*<>:|?- ', "_"))


def sanitised(node_id: str) -> str:
    """Return the name under which KATO keeps a node. Different ids with the same name are one knowledge base."""
    return node_id.translate(_UNSAFE)


def processor_id(node_id: str) -> str:
    """Return the name that KATO gives the node's memory.

    It has 60 characters at most; a digest replaces the end of a longer one.
    """
    key = sanitised(node_id)
    if len(key) > 55:
        digest = hashlib.md5(key.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
        key = f"{key[:46]}_{digest[:8]}"
    return f"{key}_kato"
