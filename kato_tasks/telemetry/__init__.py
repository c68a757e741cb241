"""Names of log events, and how they are written: as text or as JSON."""
