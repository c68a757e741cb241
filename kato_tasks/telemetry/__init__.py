"""The names of log events, and the formatters that write them as text or as JSON."""
