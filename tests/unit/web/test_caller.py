"""What a caller reaches."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pipeline_jobs.access.api_keys import ALL, Role
from pipeline_jobs.exceptions import UnknownBatch
from pipeline_jobs.web.access.caller import Caller


@dataclass(frozen=True, slots=True)
class Thing:
    tenant_id: str
    workspace_id: str


@pytest.mark.parametrize(
    ("caller", "is_own"),
    [
        (Caller("acme", None, Role.ADMIN), True),
        (Caller("acme", "main", Role.READ), True),
        (Caller(ALL, None, Role.READ), True),
        (Caller("acme", "other", Role.READ), False),
        (Caller("other", None, Role.ADMIN), False),
        (Caller("other", "main", Role.ADMIN), False),
    ],
)
def test_anothers_thing_is_an_unknown_one(caller: Caller, is_own: bool) -> None:
    thing = Thing("acme", "main")
    if is_own:
        assert caller.own(thing, UnknownBatch) is thing
    else:
        with pytest.raises(UnknownBatch):
            caller.own(thing, UnknownBatch)
