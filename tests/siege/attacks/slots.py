"""Jobs that hold all slots, as those with a source of a kilobyte a second do."""

from __future__ import annotations

from tests.siege.attacker import Client

LINE, TITLE = "C6", "jobs that hold every slot for hours, 64 at a time"


def run(client: Client) -> None:
    client.ask("POST", "/pipeline/jobs", {"pipeline": "sleep", "params": {"seconds": 36_000}})
