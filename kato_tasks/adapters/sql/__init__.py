"""The archive on PostgreSQL or SQLite, through SQLAlchemy Core; alembic makes its tables."""
