"""Compact JSON text, with one encoder for all: ``json.dumps`` with options builds a new one at every call."""

from __future__ import annotations

import json

dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
"""A value as JSON without spaces, in plain Unicode."""
