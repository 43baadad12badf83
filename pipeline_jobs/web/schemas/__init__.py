"""Requests and answers, a file a thing."""
