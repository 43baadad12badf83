"""The HTTP server: gunicorn, its connections and slow senders."""
