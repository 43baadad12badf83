"""Cursors as clients are given them (`web/http/sealing.py`)."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.access.api_keys import Role
from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.web.access.caller import Caller, set_caller
from pipeline_jobs.web.http.sealing import MOST, seal, unseal

ACME, OTHER = Caller("acme", None, Role.READ), Caller("globex", None, Role.READ)


def test_a_cursor_of_any_length_is_opened_for_whom_it_was_sealed(client: FlaskClient) -> None:
    with client.application.test_request_context():
        for length in range(1, MOST + 1):
            set_caller(ACME)
            sealed = seal("1" * length)
            assert sealed is not None
            assert unseal(sealed) == "1" * length
            set_caller(OTHER)
            for wrong in (sealed, sealed[:-1], sealed + "=", ""):
                with pytest.raises(InvalidInput):
                    unseal(wrong)
