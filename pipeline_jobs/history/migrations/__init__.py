"""The changes of the database's tables, for alembic."""
