"""The history: ended jobs in a database (SQLite or PostgreSQL), where they stay when their records are deleted."""
