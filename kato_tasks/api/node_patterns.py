"""Show a pattern of a node as KATO shows it."""

from __future__ import annotations

from typing import Any

from kato_tasks.api.replays.asking import run_programs
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.ids import check_node_id, lane_of, pick_instance
from kato_tasks.engine.drain import kato_api
from kato_tasks.engine.store_retry import execute_with_retry, raise_errors
from kato_tasks.ports.generations import GenerationOf


def read_pattern(rt: Runtime, node_id: str, name: str) -> dict[str, Any]:
    """Return a pattern of a node; one that KATO does not know has the ``status`` ``error`` and a ``message``.

    The node is asked under the name that KATO is told for it now. Reading a pattern touches no session, so it waits
    for no lane. Raises InvalidEvent for a node that cannot be, StoreUnavailable, and KatoError.
    """
    lane = lane_of(check_node_id(node_id))
    (generation,) = raise_errors(execute_with_retry(rt.store, [GenerationOf(lane)]))
    url = pick_instance(lane, rt.drainer.options.kato.urls)
    (ended,) = run_programs(rt, [(name, kato_api.read_pattern(url, generation or node_id, name))])
    if ended.error is not None:
        raise ended.error
    return ended.value or {}


__all__ = ["read_pattern"]
