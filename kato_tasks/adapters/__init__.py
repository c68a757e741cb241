"""What the ports ask for, carried out on real services: Redis, and KATO's HTTP API."""
