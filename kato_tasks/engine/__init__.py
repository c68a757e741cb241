"""The engine: applies each event to KATO once, in session order, whatever dies. No input or output of its own."""
