"""One chaos run: services, load, mischief, drain, judgement."""

import faulthandler
import os
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kato_tasks.domain.ids import partition_of
from tests.chaos import control, outage
from tests.chaos.books import SessionBooks, Verdict, judge, read_sessions
from tests.chaos.callers import Caller
from tests.chaos.drained import until_drained
from tests.chaos.frequencies import partition_stats
from tests.chaos.mischief import Happened, Mischief, fault_rules, script
from tests.chaos.recorder import PLAYED
from tests.chaos.recovery import Recovery
from tests.chaos.report import SLOW_SECONDS, text_of
from tests.chaos.rig import RealKato, Rig
from tests.chaos.scale import Scale
from tests.chaos.story import Session, sessions_of, slow_nodes

SLOW_LANES, SEEN_ROWS = 4, 15
RESTART_SECONDS = 120
"""What a real KATO may take to start on a busy machine."""
FAILED = re.compile(r"\[[^\]]*: (?:ERROR|CRITICAL)/[^\]]*\] (.*)")
NAMES = re.compile(r"'[^']*'|\"[^\"]*\"|[0-9a-f]{8}-[0-9a-f-]{27,}|\d+(\.\d+)?")


def run(
    scale: Scale,
    seed: int,
    broker: str,
    keep: Path | None,
    real: RealKato | None = None,
    sabotage: Sequence[str] = (),
) -> dict[str, Any]:
    """Carry the run out; returns its report. ``keep``: where logs and data stay for a look afterwards.

    ``real``: the KATO to take; ``sabotage``: what its recorder does behind the workers' backs, so that a judge who
    finds nothing is found out.
    """
    with ExitStack() as exits:
        directory = keep or Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="kato-chaos-")))
        # Fresh: a store of an earlier run would be taken for this one's.
        directory.mkdir(parents=True, exist_ok=keep is None)
        guide: dict[str, Any] = {}
        beside = threading.Thread(
            target=lambda: guide.update(_control(directory / "control", scale, seed)), daemon=True
        )
        rig = Rig(exits, directory, scale, seed, broker, real)
        os.environ.update(rig.settings)
        rig.start_workers()
        if real is None:
            beside.start()
        sessions = sessions_of(seed, scale.sessions, scale.nodes, rig.tag)
        slow = slow_nodes(sessions)
        rig.set_faults(fault_rules(scale, slow, None if real is None else PLAYED), seed)
        if sabotage and "learned" in sabotage:
            rig.ask("POST", "/_embedded/sabotage", {"kinds": ["learned"]})
        callers = _callers(scale, seed, sessions)
        mischief = Mischief(rig, seed, script(seed, scale), slow)
        begin = time.monotonic()
        import kato_tasks.api
        import kato_tasks.celery_tasks.tasks  # noqa: F401  before the threads: Celery's own late imports are not safe among them

        for thread in (*callers, mischief):
            thread.start()
        for thread in (*callers, mischief):
            thread.join(scale.load_seconds * 2 + 120 + RESTART_SECONDS * scale.kato_restarts)
            if thread.is_alive():
                faulthandler.dump_traceback(all_threads=True)
                raise RuntimeError(f"{thread.name} hangs; every thread's stack is on stderr")
        for failure in (mischief.failure, *(caller.failure for caller in callers)):
            if failure is not None:
                raise failure
        load_seconds = time.monotonic() - begin
        rig.ask("DELETE", "/_embedded/faults")
        rig.gateway.rules(())
        closing = [kind for kind in sabotage if kind != "learned"]
        if closing:
            # Before that the workers would notice, and put it right.
            until_drained(rig, scale.drain_seconds)
            rig.ask("POST", "/_embedded/sabotage", {"kinds": closing})
        for caller in callers:
            caller.close_sessions(2 if closing else 1)
        drain_seconds, rest = until_drained(rig, scale.drain_seconds)
        books = read_sessions(rig, [(s.id, rig.node_of(s.id)) for s in sessions])
        verdict = judge(
            rig, [caller.record for caller in callers], books, mischief.happened.losses, mischief.happened.kato_kills
        )
        verdict.asks_left = rest.predicts
        predicts = _predicts(callers, books, verdict, partition_stats(rig))
        if real is None:
            beside.join(120)
        else:
            # Not beside the run: what that task does to a real KATO is not to be judged here.
            guide.update(asdict(control.run(directory / "control", scale, seed, real, rig.tag)))
        report: dict[str, Any] = {
            "mode": scale.name,
            "seed": seed,
            "broker": broker,
            "kato_is": "embedded" if real is None else "real",
            "sabotage": list(sabotage),
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "result": "clean" if not verdict.violations else f"VIOLATED {verdict.violations}",
            "violations": verdict.violations,
            "scale": asdict(scale),
            "sessions": scale.sessions,
            "callers": scale.callers,
            "load_seconds": load_seconds,
            "drain_seconds": drain_seconds,
            "left": asdict(rest),
            "verdict": asdict(verdict),
            "tasks": _tasks(callers, books),
            "predicts": predicts,
            "gateway": rig.gateway.counts(),
            "slow_nodes": slow,
            "raised": dict(sum((Counter(caller.record.raised) for caller in callers), Counter[str]())),
            "surprises": [text for caller in callers for text in caller.record.surprises][:5],
            "given_up": sum(len(caller.record.given_up) for caller in callers),
            "kato": rig.stats(),
            "happened": _happened(mischief.happened),
            "control": guide or None,
            "worker_errors": _worker_errors(directory),
            "outage": outage.run(rig, seed) if scale.outage_seconds else None,
        }
        report["text"] = text_of(report)
        return report


def _control(directory: Path, scale: Scale, seed: int) -> dict[str, Any]:
    return asdict(control.run(directory, scale, seed))


def _callers(scale: Scale, seed: int, sessions: list[Session]) -> list[Caller]:
    share = scale.events // scale.callers
    return [
        Caller(
            seed,
            number,
            sessions[number :: scale.callers],
            events=share,
            seconds=scale.load_seconds,
            delay_share=scale.delay_share,
        )
        for number in range(scale.callers)
    ]


def _tasks(callers: list[Caller], books: list[SessionBooks]) -> dict[str, int]:
    """Whether each `.delay()` has its own event's result. A killed worker's messages may come back later than this."""
    from kato_tasks import app

    by_id = {b.id: b for b in books}
    counts = {"sent": 0, "ok": 0, "refused": 0, "failed": 0, "wrong": 0, "unanswered": 0}
    for caller in callers:
        for task_id, (session, event_id) in caller.record.tasks.items():
            counts["sent"] += 1
            book = by_id[session]
            position = next((e["position"] for e in book.events if e["event_id"] == event_id), 0)
            meta = app.backend.get_task_meta(task_id)
            if meta["status"] == "SUCCESS":
                right = meta["result"].get("event_id") == event_id and meta["result"].get("position") == position
                counts["ok" if right else "wrong"] += 1
            elif meta["status"] == "FAILURE":
                counts["refused" if position in book.dead else "failed"] += 1
            else:
                counts["unanswered"] += 1
    return counts


def _predicts(
    callers: list[Caller], books: list[SessionBooks], verdict: Verdict, stats: list[dict[str, str]]
) -> dict[str, int]:
    """Whether each predict was answered as of its place: behind every event that its caller had had accepted.

    Where the store went back and KATO was ahead of it (`caught_up`), a predict is answered for where KATO is, and its
    `after` says so (docs/reconcile.md): those are counted as `later`.
    """
    from kato_tasks import app

    parked = {book.id for book in books if book.parked is not None}
    ahead = {book.id: bool(int(stats[partition_of(book.lane)].get("caught_up", 0))) for book in books}
    counts = dict.fromkeys(("sent", "ok", "later", "refused", "failed", "wrong", "unanswered", "with_predictions"), 0)
    for caller in callers:
        for task_id, (session, after) in caller.record.predicts.items():
            counts["sent"] += 1
            meta = app.backend.get_task_meta(task_id)
            if meta["status"] not in {"SUCCESS", "FAILURE"} or session in parked:
                counts["unanswered"] += 1
                continue
            outcome = "failed" if meta["status"] == "FAILURE" else "ok"
            if outcome == "failed" and "predict failed" in str(meta["result"]):
                # KATO failed it for longer than its session's events may be held up (PREDICT_PATIENCE_SECONDS).
                counts["refused"] += 1
                continue
            if outcome == "ok" and not is_answer(meta["result"], task_id, session, after):
                place = meta["result"].get("after", 0)
                later = ahead[session] and place > after and is_answer(meta["result"], task_id, session, place)
                outcome = "later" if later else "wrong"
            counts[outcome] += 1
            if outcome in ("ok", "later"):
                counts["with_predictions"] += bool(meta["result"]["predictions"])
                continue
            verdict.predicts_wrong += 1
            verdict.note(f"predict {task_id} of {session!r} after {after}: {str(meta['result'])[:300]}")
    return counts


def is_answer(result: dict[str, Any], task_id: str, session: str, after: int) -> bool:
    """Whether this is the answer of a predict that was asked behind so many events."""
    if (result.get("session_id"), result.get("event_id"), result.get("after")) != (session, task_id, after):
        return False
    seen = result.get("predictions")
    named = isinstance(seen, list) and all(one["name"] and one["frequency"] > 0 for one in seen)
    return named and isinstance(result.get("future_potentials"), list)


def _happened(happened: Happened) -> dict[str, Any]:
    return {
        "lines": happened.lines,
        "counts": happened.counts,
        "kills_without_lane": happened.kills_without_lane,
        "late_ends": happened.late_ends,
        "losses": [[loss.from_ms, loss.until_ms, len(loss.under_way)] for loss in happened.losses],
        "recoveries": _recoveries(happened.recoveries),
    }


def _recoveries(recoveries: list[Recovery]) -> list[dict[str, Any]]:
    """All of them, those with KATO well first; how a lane stood meanwhile only for the first few slow ones."""
    rows = [asdict(recovery) for recovery in sorted(recoveries, key=lambda recovery: not recovery.calm)]
    slow = [row for row in rows if row["progress"] is None or row["progress"] > SLOW_SECONDS]
    for row in rows:
        row["seen"] = row["seen"][:SEEN_ROWS] if any(row is kept for kept in slow[:SLOW_LANES]) else []
    return rows


def _worker_errors(directory: Path) -> dict[str, int]:
    found: Counter[str] = Counter()
    for path in directory.glob("worker-*.log"):
        for line in path.read_text(errors="replace").splitlines():
            match = FAILED.search(line)
            if match:
                found[NAMES.sub("…", match[1])[:160]] += 1
    return dict(found.most_common(20))
