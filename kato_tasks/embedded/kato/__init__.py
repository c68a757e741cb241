"""Provide the embedded KATO: the part of KATO's HTTP API that this project uses, in one process and in memory.

It keeps real short-term memory, learns real patterns, predicts by sequence matching, counts what a client must never do
(let two calls overlap on one node), and makes faults on demand.

It imports nothing from the rest of ``kato_tasks``, because it stands for a service that others run.
"""
