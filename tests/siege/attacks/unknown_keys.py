"""Bodies with very many keys that no model knows."""

from __future__ import annotations

import json

from tests.siege.attacker import Client

LINE, TITLE = "C9", "bodies of 1 MB with 80,000 unknown keys"
CONNECTIONS = 12
BODY = json.dumps({f"k{number}": 1 for number in range(80_000)}).encode()


def run(client: Client) -> None:
    client.ask("POST", "/pipeline/jobs", BODY)
