"""Serve events, sessions and the system's state over HTTP: ``kato-tasks serve`` (extra ``http``)."""
