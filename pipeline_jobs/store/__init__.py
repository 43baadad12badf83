"""The door to state: connection, keys, scripts, pages."""
