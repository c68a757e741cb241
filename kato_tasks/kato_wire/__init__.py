"""KATO's wire: what its requests may hold, how it answers them, and which session configs it takes, as measured.

The embedded KATO and the KATO-shaped routes of the HTTP server both speak it.
"""
