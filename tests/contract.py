"""What schemathesis must be told of our contract, wherever it runs. As `SCHEMATHESIS_HOOKS` it is imported by its command too."""

from __future__ import annotations

from typing import Any

import schemathesis

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")

#: Besides HTTP's own: tus's for another version, and for bytes that have another checksum.
TUS_STATUSES = ["412", "460"]


def expect_tus(schema: Any) -> None:
    """A request that breaks the schema may be refused with these too."""
    schema.config.checks.negative_data_rejection.expected_statuses += TUS_STATUSES
