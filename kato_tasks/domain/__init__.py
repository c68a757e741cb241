"""What an event, a log entry, a binding and the STM are: pure code, without input or output."""
