"""Jobs with results as large as those of long films, and lists of them."""

from __future__ import annotations

from tests.siege.attacker import Client

LINE, TITLE = "A1", "jobs with 600 kB of result, and lists of them"


def run(client: Client) -> None:
    client.ask("POST", "/pipeline/jobs", {"pipeline": "siege-fill", "params": {"result_bytes": 600_000}})
    client.ask("GET", "/pipeline/jobs?limit=100&status=completed")
