"""The embedded KATO: the part of KATO's HTTP API that this project uses, in one process and in memory.

It keeps real short-term memory, learns real patterns, predicts by sequence matching, counts what a
client must never do (two calls overlapping on one node) and takes faults on demand.

It imports nothing from the rest of `kato_tasks`: it stands for somebody else's service.
"""
