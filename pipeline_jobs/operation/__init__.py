"""What keeps an installation going, and what is told of it."""
