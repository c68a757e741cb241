"""Redis Streams, through redis-py."""
