"""What schemathesis must be told of our contract, wherever it runs. As `SCHEMATHESIS_HOOKS` it is imported by its command too."""

from __future__ import annotations

import os
from typing import Any

import schemathesis
from schemathesis.core.failures import Failure
from schemathesis.specs.openapi.checks import allow_header_conformance, ignored_auth, use_after_free

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")

#: So many requests are made up for each operation without a key, and three fifths as many with one, each of which is sent again without it
#: and with a wrong one. `make contract` makes up more.
EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "8"))

#: What schemathesis does with a key on. Nine of ten of its requests are of its phases `examples` and `coverage`, of which the run without a
#: key has the same: with one only what is drawn is sent, in each operation, and by `make contract` all.
PHASES_WITH_A_KEY = ["examples", "coverage", "fuzzing"] if "SCHEMA_EXAMPLES" in os.environ else ["fuzzing"]

#: Besides HTTP's own: tus's for another version, and for bytes that have another checksum.
TUS_STATUSES = ["412", "460"]


def expect_tus(schema: Any) -> None:
    """A request that breaks the schema may be refused with these too."""
    schema.config.checks.negative_data_rejection.expected_statuses += TUS_STATUSES


@schemathesis.check
def use_after_free_but_of_jobs(ctx: Any, response: Any, case: Any) -> bool | None:
    """In the place of `use_after_free`: DELETE of a job that has not ended cancels it and keeps its record, as the brief has it."""
    if case.operation.path.startswith("/pipeline/jobs/{job_id}"):
        return None
    result: bool | None = use_after_free(ctx, response, case)
    return result


@schemathesis.check
def ignored_auth_or_too_many(ctx: Any, response: Any, case: Any) -> bool | None:
    """In the place of `ignored_auth`: after twenty wrong keys an address is answered 429, and all that is tried here comes from one."""
    try:
        result: bool | None = ignored_auth(ctx, response, case)
    except Failure as failure:
        if "got `429 " not in failure.message:
            raise
        return None
    return result


@schemathesis.check
def allow_header_but_of_two_routes(ctx: Any, response: Any, case: Any) -> bool | None:
    """In the place of `allow_header_conformance`: paths of actions by filter are a job's, too, those of a workflow's pictures a workflow's,
    and OPTIONS tells of both."""
    if case.operation.path in ("/pipeline/jobs/cancel", "/pipeline/jobs/bulk") or case.operation.path.endswith((".mmd", ".svg")):
        return None
    result: bool | None = allow_header_conformance(ctx, response, case)
    return result
