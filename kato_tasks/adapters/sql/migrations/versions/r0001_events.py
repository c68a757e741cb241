"""The table of events, with an index for each order in which they are read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the table."""
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    name = sa.Text(collation="C") if on_postgresql else sa.Text()  # sorts by bytes, as SQLite does anyway
    op.create_table(
        "kato_events",
        sa.Column("session_id", name, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("node", name, nullable=False),
        sa.Column("lane", name, nullable=False),
        sa.Column("lane_order", sa.BigInteger, nullable=False),
        sa.Column("applied_ms", sa.BigInteger, nullable=False),
        sa.Column("appended_ms", sa.BigInteger),
        sa.Column("event_id", name, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
        sa.Column("dead", sa.Boolean, nullable=False),
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("entry", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("session_id", "position", name="kato_events_pkey"),
    )
    op.create_index("kato_events_lane_order", "kato_events", ["lane", "lane_order"])
    op.create_index("kato_events_time", "kato_events", ["time_ms", "session_id", "position"])
    if on_postgresql:
        # Events come in about the order in which they were applied, so a few bytes for each block will do.
        op.create_index("kato_events_applied", "kato_events", ["applied_ms"], postgresql_using="brin")


def downgrade() -> None:
    """Refuse: this would erase the archive."""
    raise NotImplementedError("the first revision is never undone, because that would erase the archive")
