"""Replays: plan and start one, look at it, work on its parts, switch generations, and clean up."""
