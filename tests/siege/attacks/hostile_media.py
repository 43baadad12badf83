"""Uploads that claim to be films, and jobs that decode them."""

from __future__ import annotations

import os
from pathlib import Path

from tests.siege.attacker import Client

LINE, TITLE = "B4", "broken films, uploaded and decoded"
GOOD = (Path(__file__).resolve().parents[3] / "samples" / "welcome.mp4").read_bytes()


def run(client: Client) -> None:
    at = int.from_bytes(os.urandom(4), "big") % len(GOOD)
    film = GOOD[:at] + os.urandom(64) + GOOD[at + 64 :]
    upload = client.ask("POST", "/pipeline/uploads", film, {"Content-Type": "application/offset+octet-stream"})
    if upload and "url" in upload:
        client.ask("POST", "/pipeline/jobs", {"url": upload["url"]})
