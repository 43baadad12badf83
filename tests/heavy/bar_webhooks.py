"""Bar 3 of the contract: 5,000 webhooks to receivers that fail, senders killed 50 times, beside a dead tenant and tenants that are well.

Default settings, but for the retry table (in seconds instead of hours) and for receivers on loopback.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from tests.heavy import other_verifier
from tests.heavy.webhooks import run_webhooks
from tests.stack import MakeStack

KILLS = 50


def test_five_thousand_webhooks(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(
        webhook_allow_private=True, webhook_retry_seconds="0.5,1,2,3,4,5,6,8,10", announce_seconds=1000.0, lease_seconds=60.0,
        hint_seconds=600.0, rescue_seconds=5.0, cleanup_seconds=60.0,
    )  # fmt: skip
    seed, rate = int(os.environ.get("SEED", "3")), float(os.environ.get("RATE", "30"))
    figures, signed = run_webhooks(stack, messages=5_000, to_dead=250, to_well=1_000, kills=KILLS, seed=seed, rate=rate)
    print(json.dumps(asdict(figures), indent=2))
    folder = tmp_path / "npm"
    if other_verifier.install(folder):
        checked = other_verifier.verify(folder, signed)
        print(json.dumps({"npm": other_verifier.PACKAGE, **checked}))
        assert checked == {"good": figures.signatures, "bad": 0, "forged": 0}
    else:
        print("npm's standardwebhooks could not be had here: signatures were checked by the specification alone")
    assert figures.wrong == []
    assert figures.kills == KILLS
    assert figures.well["p95"] < 2
