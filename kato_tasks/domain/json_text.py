"""Compact JSON text, made by one encoder: ``json.dumps`` with options would build a new encoder at every call."""

from __future__ import annotations

import json

dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
"""Return a value as JSON without spaces, in plain Unicode."""

ascii_dumps = json.JSONEncoder(separators=(",", ":")).encode
"""Return the same in ASCII, for texts that are cut at a byte: a cut must not fall inside a character."""
