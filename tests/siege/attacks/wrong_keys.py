"""Wrong keys from the address that B has."""

from __future__ import annotations

import os

from tests.siege.attacker import Client

LINE, TITLE = "C8", "wrong keys without end, from B's own address"
SHARES_ADDRESS = True


def run(client: Client) -> None:
    client.ask("GET", "/pipeline/jobs", key=f"pjk_{os.urandom(8).hex()}_{'x' * 43}")
