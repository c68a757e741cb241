"""What it costs and what it holds: each module is a command that measures, and prints what it measured."""
