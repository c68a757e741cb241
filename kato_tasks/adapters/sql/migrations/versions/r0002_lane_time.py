"""An index for the events of one lane by time, and for what a lane holds. Everything works without it, more slowly."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

INDEX = "kato_events_lane_time"
COLUMNS = ["lane", "time_ms", "session_id", "position"]


def upgrade() -> None:
    """Create the index, on PostgreSQL without holding up writers."""
    if op.get_bind().dialect.name != "postgresql":
        op.create_index(INDEX, "kato_events", COLUMNS, if_not_exists=True)
        return
    with op.get_context().autocommit_block():
        # What an interrupted try leaves is there, and cannot be used.
        op.drop_index(INDEX, postgresql_concurrently=True, if_exists=True)
        op.create_index(INDEX, "kato_events", COLUMNS, postgresql_concurrently=True)


def downgrade() -> None:
    """Drop the index."""
    if op.get_bind().dialect.name != "postgresql":
        op.drop_index(INDEX, if_exists=True)
        return
    with op.get_context().autocommit_block():
        op.drop_index(INDEX, postgresql_concurrently=True, if_exists=True)
