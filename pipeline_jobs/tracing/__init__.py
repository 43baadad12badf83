"""What ties together all that is done for one request: ids in records and log lines, and spans (OpenTelemetry)."""
