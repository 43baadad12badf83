"""All access to the stored state: connection, keys, scripts, pages."""
