"""Adapters: the ports on real services."""
