"""Compact JSON text, with one encoder for all: ``json.dumps`` with options builds a new one at every call."""

from __future__ import annotations

import json

dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
"""A value as JSON without spaces, in plain Unicode."""

ascii_dumps = json.JSONEncoder(separators=(",", ":")).encode
"""The same in ASCII, for texts that are cut at a byte: no cut may end inside a character."""
