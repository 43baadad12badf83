"""Uploads as fast as the disk takes them."""

from __future__ import annotations

from tests.siege.attacker import Client

LINE, TITLE = "C5", "64 uploads of 8 MB at a time"
BYTES = b"x" * (8 * 2**20)


def run(client: Client) -> None:
    client.ask("POST", "/pipeline/uploads", BYTES, {"Content-Type": "application/offset+octet-stream"})
