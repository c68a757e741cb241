"""A run's report: text for people, JSON for comparison."""

from collections.abc import Sequence
from statistics import median
from typing import Any

SLOW_SECONDS = 10.0


def recovery_lines(recoveries: Sequence[dict[str, Any]]) -> list[str]:
    """How long after a SIGKILL the lanes of the dead went on, with KATO well and with its faults."""
    lines = []
    for calm, title in ((True, "KATO well"), (False, "KATO ill")):
        for key, what in (("taken", "taken by another"), ("progress", "progress again")):
            seconds = [r[key] for r in recoveries if r["calm"] is calm and r[key] is not None]
            figures = "no lane was held"
            if seconds:
                figures = f"median {median(seconds):.1f} s, max {max(seconds):.1f} s, {len(seconds)} lanes"
            lines.append(f"recovery after SIGKILL, {title:9} {what:17} {figures}")
    return lines


def text_of(report: dict[str, Any]) -> str:
    """The report as text."""
    v, happened = report["verdict"], report["happened"]
    acts = ", ".join(f"{name} {count}" for name, count in sorted(happened["counts"].items()))
    faults = ", ".join(f"{name} {count}" for name, count in sorted(report["kato"]["faults"].items()))
    f = v["frequencies"]
    tasks, counters = report["tasks"], v["counters"]
    figures = [
        ("attempted", v["attempted"], ""),
        ("acknowledged", v["acknowledged"], ""),
        ("applied", v["applied"], ""),
        ("lost", v["lost"], ""),
        ("duplicated", v["duplicated"], ""),
        ("reordered", v["reordered"], ""),
        ("overlapped", v["overlapped"], ""),
        ("STM unlike the oracle's", v["stm_mismatches"], f"of {report['sessions']:,} sessions"),
        ("pattern frequency unlike", f["mismatches"], f"of {f['patterns']:,}, by {f['learns']:,} learns"),
        ("  excused, counted unknown", f["excused"], "by which counts differ from the oracle's"),
        ("  patterns not judged", f["unsure"], "learned when KATO lost everything"),
        ("  of one event of vectors", f["lone_vectors"], "a pattern only if KATO adds a learned vector: not judged"),
        ("  rows that a kill took", len(f["rows_lost"]), "KATO had answered and not yet written them"),
        ("learns of unknown outcome", counters.get("learns_unknown", 0), ""),
        ("learns in doubt", counters.get("learns_in_doubt", 0), "perhaps twice, after a store that went back"),
        ("late landings", v["late_landings"], "calls whose caller had given up; no overlaps"),
        ("fenced", counters.get("fenced", 0), ""),
        ("rebuilt", counters.get("rebuilt", 0), ""),
        ("leftover KATO sessions", counters.get("leftovers", 0), "until their TTL"),
        ("parked sessions", v["parked"], f"with {v['parked_unapplied']:,} events to come"),
        ("dead letters", v["dead_letters"], f"{v['unexpected_dead_letters']} unexpected; others had nothing to learn"),
        (
            "results of .delay()",
            tasks["ok"],
            f"right of {tasks['sent']:,}; {tasks['refused']:,} refused as in the log",
        ),
        ("  failed", tasks["failed"], ""),
        ("  wrong", tasks["wrong"], ""),
        ("  unanswered", tasks["unanswered"], "held by killed workers until the visibility timeout"),
    ]
    asked = report["predicts"]
    figures += [
        ("predicts", asked["ok"], f"right of {asked['sent']:,}; {asked['with_predictions']:,} had predictions"),
        ("  for a later place", asked["later"], "a store that went back met a KATO that was ahead; `after` says so"),
        ("  refused", asked["refused"], "KATO failed them for longer than others may wait"),
        ("  failed or wrong", v["predicts_wrong"], ""),
        ("  unanswered", asked["unanswered"], f"of their sessions {v['asks_left']} still wait"),
    ]
    load = f"{v['attempted']:,} events, {report['sessions']:,} sessions, {report['callers']} callers"
    which = {"embedded": "", "real": ", a real KATO behind a recorder"}[report["kato_is"]]
    head = f"chaos {report['mode']}, seed {report['seed']}, broker {report['broker']}{which}: {report['result']}"
    lines = [head, *(f"SABOTAGE: {kind}" for kind in report["sabotage"]), ""]
    lines.append(f"load   {load} in {report['load_seconds']:.0f} s; {tasks['sent']:,} by .delay(), the rest in bulk")
    ruled, seen = (sum(report["gateway"][name].values()) for name in ("ruled", "seen"))
    lines += [f"acts   {acts}", f"faults {faults}"]
    lines += [f"gateway misbehaved at {ruled:,} of {seen:,} calls; slow nodes: {', '.join(report['slow_nodes'])}", ""]
    lines += [f"{name:26} {count:>9,}  {remark}".rstrip() for name, count, remark in figures]
    lines += ["", f"calls that raised, and were repeated with their event ids: {report['raised'] or 'none'}"]
    lines += recovery_lines(happened["recoveries"])
    lines += [
        f"kills that met no held lane: {happened['kills_without_lane']}",
        f"workers that overstayed their stop grace period: {happened['late_ends']}",
        f"drained {report['drain_seconds']:.1f} s after the last event; left over: {report['left']}",
    ]
    if report.get("outage"):
        lines += ["", *report["outage"]["text"]]
    if report.get("control"):
        c = report["control"]
        lines += [
            "",
            "control, the guide's plain task (4 sessions x 100 events, 8 threads, one SIGKILL, the same faults):",
            f"lost {c['lost']}, duplicated {c['duplicated']}, inverted {c['inverted']}, overlapped {c['overlapped']}",
        ]
    slow = [r for r in happened["recoveries"] if r["progress"] is None or r["progress"] > SLOW_SECONDS]
    if slow:
        lines += ["", f"lanes that took more than {SLOW_SECONDS:g} s to go on:"]
        for r in slow[:4]:
            lines += [
                f"  {r['lane']}: taken {r['taken']}, progress {r['progress']}",
                *(f"    {s}" for s in r["seen"]),
            ]
    if f["rows_lost"]:
        lines += ["", "patterns whose rows a kill of KATO took along:", *(f"  {row}" for row in f["rows_lost"])]
    if f["differing"]:
        lines += ["", "counts unlike the oracle's, excused or not:", *(f"  {row}" for row in f["differing"])]
    if v["evidence"]:
        lines += ["", "evidence:", *(f"  {row}" for row in v["evidence"])]
    if report["worker_errors"]:
        lines += ["", "errors in the workers' logs:"]
        lines += [f"  {count:>5} x {text}" for text, count in report["worker_errors"].items()]
    if report["surprises"]:
        lines += ["", "calls raised what is none of our own errors; the first:"]
        lines += [f"  {row}" for row in report["surprises"][0].splitlines()[-12:]]
    lines += ["", "what happened when:", *(f"  {row}" for row in happened["lines"])]
    return "\n".join(lines)
