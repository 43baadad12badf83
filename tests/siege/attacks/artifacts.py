"""Jobs that publish as many files as they can, kept as long as they may be."""

from __future__ import annotations

from tests.siege.attacker import Client

LINE, TITLE = "A2", "jobs that publish 20 files of 1 MB each, kept for a month"


def run(client: Client) -> None:
    params = {"files": 20, "file_bytes": 2**20}
    client.ask("POST", "/pipeline/jobs", {"pipeline": "siege-fill", "ttl_seconds": 2_592_000, "params": params})
