"""The engine applies each event to KATO once, in session order, whatever dies. It does no input or output itself."""
