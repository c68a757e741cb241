"""Calling tasks: from threads, from event loops, in canvases and after a transaction."""
