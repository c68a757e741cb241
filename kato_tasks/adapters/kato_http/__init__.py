"""KATO over HTTP."""
