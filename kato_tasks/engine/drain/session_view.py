"""A session as the store has it now, and the instance of KATO at which its calls are made."""

from __future__ import annotations

from dataclasses import replace

from kato_tasks.engine.drain.context import LaneContext, send_together
from kato_tasks.errors import LeaseLost
from kato_tasks.ports.effects import Program, perform
from kato_tasks.ports.lanes import ReadSession, Renew, Work
from kato_tasks.ports.log import ReadLog


def read_again(lane: LaneContext, work: Work) -> Program[Work]:
    """Return the piece of work with the binding and the intent that the store has now.

    Both may have been written since the work was handed out. Where an intent is open, the entries are those that it is
    about. Raises LeaseLost when the lane has another holder: what that one wrote must not be taken for our own.
    """
    held, (binding, intent) = yield from send_together((Renew(lane.lease), ReadSession(work.lane, work.session)))
    if not held:
        raise LeaseLost("the lane's lease passed to another worker")
    entries = work.entries
    if (
        intent is not None
        and intent.kind != "fence"
        and (not entries or (entries[0].position, entries[-1].position) != (intent.first, intent.last))
    ):
        entries = tuple((yield from perform(ReadLog(work.lane, work.session, intent.first, intent.last))))
    return move_to_its_instance(lane, replace(work, binding=binding, intent=intent, entries=entries))


def move_to_its_instance(lane: LaneContext, work: Work) -> Work:
    """Return the same work, to be asked of its lane's instance where it was bound at another one.

    That happens when the list of instances changes. All instances share one set of stores, so the KATO session is at
    the new one too. A session moves while it is idle. With an open intent it stays where the call was sent until that
    is reconciled, unless that instance is no longer configured: then it is reconciled at the new one, like any call of
    unknown outcome.
    """
    url = lane.url(work)
    if work.binding is None or work.binding.url == url:
        return work
    if work.intent is not None and work.binding.url in lane.options.urls:
        return work
    return replace(work, binding=replace(work.binding, url=url))
