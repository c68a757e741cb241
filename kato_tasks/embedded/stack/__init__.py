"""The embedded stack: real processes on this machine, started, watched and stopped together."""
