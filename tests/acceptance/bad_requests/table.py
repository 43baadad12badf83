"""The corpus: what a request can have wrong, for every route that can be asked wrongly; how it is answered and what is named."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.integration.web.test_bad_requests import BODIES, QUERIES, RAW, TYPES

JSON = "application/json"
TUS = "application/offset+octet-stream"
URL = "https://media.example/clip.mp4"
HOURLY = b'{"cron":"0 * * * *","job":{"pipeline":"sleep"}}'


@dataclass(frozen=True)
class Bad:
    """One request; `{job}`, `{ended}`, `{running}`, `{upload}` in its path are things that exist."""

    name: str
    method: str
    path: str
    status: int
    #: Stands in `field`, or else in the detail or a header: what is wrong.
    names: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    environ: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path[:60]}: {self.name}"[:120]


# fmt: off

#: Ids that can be nobody's, as they stand in a path.
ODD_IDS = (
    "x", "job_1_0000000g", "-a", "%00", "%0d%0aX-Injected:%201", "..%2f..%2fetc", "'%20OR%201=1", "%F0%9F%92%A9", "a" * 300, "null", "*",
)
ODD_TENANTS = ("-bad", "a%20b", "%00", "a%0d%0ab", "x" * 65, "a:b", "%C3%A9", ".", "a%2fb")

#: Dates that RFC 3339 has and that cannot be stored or shown: their offset, or the digits behind the second, carry them out of the years.
ODD_DATES = (
    "0001-01-01T00:00:00+23:59", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59-00:01", "9999-12-31T23:59:59-23:59", "0000-12-31T23:59:59Z", "2025-01-01T00:00:00+24:00",
    "2025-01-01T00:00:00-99:99",
)

#: Routes with a JSON body, and a good one.
WITH_BODY: Sequence[tuple[str, str, dict[str, Any]]] = (
    ("POST", "/pipeline/jobs", {"pipeline": "sleep"}),
    ("POST", "/pipeline/run", {"pipeline": "sleep", "timeout": 0}),
    ("PATCH", "/pipeline/jobs/{job}", {"priority": 1}),
    ("POST", "/pipeline/jobs/{job}/signals/go", {"payload": 1}),
    ("POST", "/pipeline/tenants/acme/keys", {"role": "read"}),
    ("PUT", "/pipeline/tenants/acme/limits", {"weight": 1}),
    ("POST", "/pipeline/webhook-endpoints", {"url": "https://hooks.example/x"}),
    ("PATCH", "/pipeline/webhook-endpoints/{hook}", {"description": "x"}),
    ("POST", "/pipeline/batches", {"jobs": [{"pipeline": "sleep"}]}),
    ("POST", "/pipeline/workflows", {"jobs": [{"pipeline": "sleep", "name": "a"}]}),
    ("POST", "/pipeline/jobs/cancel", {"tag": "x"}),
    ("POST", "/pipeline/jobs/bulk", {"action": "delete", "filter": {"tag": "x"}}),
    ("POST", "/pipeline/schedules", {"cron": "0 * * * *", "job": {"pipeline": "sleep"}}),
    ("PATCH", "/pipeline/schedules/{schedule}", {"name": "x"}),
    ("PUT", "/pipeline/pipelines/sleep/limits", {"max_concurrent": 1}),
    ("POST", "/pipeline/events/token", {"job_id": "job_1704326400_abc12345"}),
)
#: Those of their fields that the unit tests' corpus does not have, with values that they must not have.
FIELDS: dict[str, dict[str, Sequence[Any]]] = {
    "PATCH /pipeline/jobs/{job}": {
        "priority": (51, -51, "1", 1.5, True, [], {}, 10**30),
        "run_at": ("now", 0, "", True, [], "2025-02-30T00:00:00Z", "2025-01-01", *ODD_DATES),
        "url": (URL,), "status": ("completed",), "": (1,),
    },
    "POST /pipeline/jobs/{job}/signals/go": {"by": ("x",), "at": (1,), "signal": ("go",), "": (1,)},
    "POST /pipeline/tenants/acme/keys": {
        "role": (None, "", "root", "ADMIN", 1, [], {}, True), "name": (None, 1, [], "x" * 65, "a\nb", "a\0"),
        "workspace_id": ("", "-a", "a b", 1, [], "x" * 65, "a\r\nb"),
        "expires_at": ("", "now", 0, "2001-01-01T00:00:00Z", "2025-02-30T00:00:00Z", [], *ODD_DATES),
        "key": ("pjk_x",), "tenant_id": ("other",),
    },
    "PUT /pipeline/tenants/acme/limits": {
        "weight": (0, -1, 1001, "1", True, [], {}, 10**400), "max_concurrent": (-1, 1.5, "1", True, 10**10, []),
        "max_queued": (-1, 1.5, "1", True, 10**10), "max_parked": (-1, 1.5, "1", True, 10**10),
        "submit_rate": (-1, "1", True, 10**7, []), "start_rate": (-1, "1", True, 10**7, []),
        "paused": (0, 1, "true", []), "max_storage_bytes": (-1, 0.5, "1", True, 10**16), "max_run_seconds": (0, -1, "1", True, 10**8),
        "max_ended": (-1, 0.5, "1", True, 10**16), "max_drive_bytes": (-1, 0.5, "1", True, 10**16),
        "daily_llm_tokens": (-1, 0.5, "1", True, 10**16),
        "max_jobs": (1,), "": (1,),
    },
    "POST /pipeline/jobs": {
        "deadline_seconds": (0, -1, "1", True, [], 10**9), "ttl_seconds": (0, -1, "1", True, [], 10**9),
        "start_within_seconds": (0, -1, "1", True, [], 10**9), "retain_seconds": (0, -1, "1", True, [], 10**9),
        "run_at": ("now", 0, "", True, [], "2025-02-30T00:00:00Z", "2025-01-01", *ODD_DATES),
        "timeout": (1,), "result": ({},), "artifacts": ("x",), "fence": (1,), "worker": ("w",),
    },
    "POST /pipeline/webhook-endpoints": {
        "url": (
            None, "", 1, [], "x", "http://127.0.0.1/", "https://127.0.0.1/x", "https://10.0.0.1/", "https://user:p@hooks.example/", "ftp://x/",
            "https://", "https://[::1]/", "https://169.254.169.254/", "https://hooks.example/\r\nX: y", "https://x/" + "a" * 3000, "file:///x",
        ),
        "events": (None, "job.completed", [1], ["x"], ["job.completed"] * 21, {}), "description": (1, "a\nb", "x" * 2000, []),
        "tenant_id": ("", "-a", "a b", 1, "x" * 65), "secret": ("whsec_x",), "enabled": ("yes",),
    },
    "PATCH /pipeline/webhook-endpoints/{hook}": {
        "url": ("", 1, "x", "https://127.0.0.1/x", "https://user@hooks.example/"), "events": ("x", [1], ["x"]), "description": (1, "a\0"),
        "enabled": ("true", 1, []), "tenant_id": ("other",), "secret": ("x",),
    },
    "POST /pipeline/batches": {
        "jobs": (None, [], {}, "x", 1, [1], ["x"], [None]), "mode": ("x", 1, []), "metadata": (None, [], "x"), "tenant_id": ("", "-a", 1),
        "workspace_id": ("", "-a", 1),
    },
    "POST /pipeline/workflows": {
        "jobs": (None, [], {}, "x", 1, [1], ["x"], [None]), "partial": (True,), "metadata": (None, [], "x"), "tenant_id": ("", "-a", 1),
        "workspace_id": ("", "-a", 1),
    },
    "POST /pipeline/jobs/cancel": {
        "tag": ("", 1, [], "a\nb", "x" * 65), "status": ("x", 1), "tenant_id": ("", "-a", 1), "pipeline": ("", "-a", 1),
        "created_after": ("now", 1, "", *ODD_DATES), "created_before": ODD_DATES, "dry_run": ("true", 1),
    },
    "POST /pipeline/jobs/bulk": {
        "action": (None, "", "x", 1, [], True), "filter": (None, {}, [], "x", {"tag": ""}, {"status": ["x"]}, {"status": ["queued"]}),
        "dry_run": ("true", 1), "cursor": (1, "x", []), "tag": ("x",),
    },
    "POST /pipeline/schedules": {
        "cron": (None, "", "x", "* * * *", "61 * * * *", "* * * * * * * *", 1, [], "@nobody"),
        "timezone": ("", "Nowhere/City", 1, "../etc/passwd"),
        "overlap": ("x", 1), "catch_up": ("x", 1), "job": (None, [], "x", 1), "name": (1, [], "a\0"),
    },
    "PATCH /pipeline/schedules/{schedule}": {"cron": ("", "x", 1), "timezone": ("Nowhere/City", 1), "overlap": ("x",), "job": ([], "x")},
    "PUT /pipeline/pipelines/sleep/limits": {"max_concurrent": (-1, 1.5, "1", True, []), "weight": (1,)},
    "POST /pipeline/events/token": {"job_id": (1, [], True, {}), "tenant_id": ("-a", 1, [], "a b"), "scope": ("x",)},
    "POST /pipeline/run": {"timeout": (-1, "1", True, [], {}), "deadline_seconds": (0, "1"), "run_at": ("now", 1, *ODD_DATES)},
}
#: Bodies of a good form that the real client or store refuses: (name, body, field).
REFUSED: Sequence[tuple[str, dict[str, Any], str]] = (
    ("no url", {}, "url"), ("a url for a pipeline without", {"pipeline": "sleep", "url": URL}, "url"),
    ("an unknown quality", {"url": URL, "quality": "3p"}, "quality"), ("an unknown pipeline", {"pipeline": "nope"}, "pipeline"),
    ("an unknown upload", {"url": "upload://" + "0" * 24}, "url"), ("an upload of another", {"url": "upload://{foreign}"}, "url"),
    ("an incomplete upload", {"url": "upload://{incomplete}"}, "url"), ("an upload by its path", {"url": "/pipeline/uploads/x"}, "url"),
    ("an upload with a path", {"url": "upload://{upload}/x"}, "url"), ("an upload in capitals", {"url": "UPLOAD://{upload}"}, "url"),
    ("an upload of a user", {"url": "upload://user@{upload}"}, "url"), ("an upload with a NUL", {"url": "upload://{upload}\0"}, "url"),
    ("an upload that climbs", {"url": "upload://../../etc/passwd"}, "url"), ("an upload of no id", {"url": "upload://"}, "url"),
    ("an upload with a line end", {"url": "upload://{upload}\n"}, "url"),
    ("params of another", {"pipeline": "sleep", "params": {"x": 1}}, "params.x"),
    ("params that are too much", {"pipeline": "sleep", "params": {"seconds": -1}}, "params.seconds"),
    ("params of 20 KB", {"pipeline": "sleep", "params": {"echo": "x" * 20_000}}, "params"),
    ("metadata of 20 KB", {"pipeline": "sleep", "metadata": {"x": "y" * 20_000}}, "metadata"),
)
#: Queries: (path, query, status, what is named).
ASKED: Sequence[tuple[str, str, int, str]] = (
    *(("/pipeline/tenants/acme/audit", query, status, names) for query, status, names in (
        ("limit=0", 422, "limit"), ("limit=101", 422, "limit"), ("x=1", 400, "x"), ("cursor=!", 422, "cursor"), ("cursor=", 422, "cursor"),
        ("format=json", 400, "format"),
    )),
    *(("/pipeline/audit", query, status, names) for query, status, names in (
        ("limit=0", 422, "limit"), ("limit=101", 422, "limit"), ("limit=x", 422, "limit"),
        ("limit=1&limit=2", 400, "limit"), ("x=1", 400, "x"),
        ("cursor=!", 422, "cursor"), ("cursor=", 422, "cursor"),
        ("cursor=" + "x" * 200, 422, "cursor"), ("tenant_id=acme", 400, "tenant_id"),
        ("format=xml", 422, "format"), ("format=", 422, "format"),
    )),
    *((path, query, status, names) for path in ("/pipeline/analytics", "/pipeline/analytics/export") for query, status, names in (
        ("ended_after=yesterday", 422, "ended_after"), ("ended_before=2025-01-03", 422, "ended_before"),
        ("ended_after=", 422, "ended_after"),
        ("ended_after=2025-01-03T12:00:00Z&ended_before=2025-01-02T12:00:00Z", 422, "ended_after"),
        ("ended_after=2024-01-03T12:00:00Z&ended_before=2025-01-02T12:00:00Z", 422, "ended_after"),
        ("ended_after=1970-01-01T00:00:00Z", 422, "ended_after"), ("tenant_id=-bad", 422, "tenant_id"), ("pipeline=a%20b", 422, "pipeline"),
        ("workspace_id=", 422, "workspace_id"), ("days=7", 400, "days"), ("pipeline=a&pipeline=b", 400, "pipeline"),
    )),
    *(("/pipeline/jobs/job_1_00000000", query, status, names) for query, status, names in (
        ("include=all", 422, "include"), ("include=", 422, "include"), ("include=result", 422, "include"),
        ("includes=history", 400, "includes"), ("include=history,x", 422, "include"),
    )),
    *(("/pipeline/tenants/acme/usage", query, status, names) for query, status, names in (
        ("days=0", 422, "days"), ("days=401", 422, "days"), ("days=x", 422, "days"), ("days=", 422, "days"), ("days=-1", 422, "days"),
        ("days=1.5", 422, "days"), ("days=%D9%A1", 422, "days"), ("day=1", 400, "day"), ("days=1&days=1", 400, "days"),
    )),
)

#: Paths at which there is nothing.
NOWHERE = (
    "/", "/pipeline", "/pipeline/", "/pipeline/job", "/pipeline/jobs/", "/pipeline//jobs", "/PIPELINE/jobs", "/pipeline/jobs/a/b", "/.env",
    "/docs/../app.py", "/health", "/metrics/", "/pipeline/jobs%00", "/pipeline/jobs;x=1", "/%0d%0aSet-Cookie:a=b",
)
#: Methods that a route does not have.
OTHER_METHODS = (
    ("/pipeline/jobs", "PUT PATCH DELETE"),
    ("/pipeline/jobs/{job}", "PUT POST"),
    ("/pipeline/jobs/{job}/cancel", "GET PUT PATCH DELETE"),
    ("/pipeline/jobs/{job}/transcript/search", "POST PUT PATCH DELETE"),
    ("/pipeline/run", "GET PUT PATCH DELETE"),
    ("/pipeline/pipelines", "POST PUT PATCH DELETE"),
    ("/pipeline/uploads", "PUT PATCH DELETE"),
    ("/pipeline/uploads/{upload}", "POST PUT"),
    ("/pipeline/tenants/acme", "GET POST PUT PATCH"),
    ("/pipeline/tenants/acme/limits", "POST PATCH DELETE"),
    ("/pipeline/tenants/acme/usage", "POST PUT PATCH DELETE"),
    ("/pipeline/tenants/acme/keys", "PUT PATCH DELETE"),
    ("/pipeline/tenants/acme/keys/0123456789abcdef", "GET POST PUT PATCH"),
    ("/pipeline/audit", "POST PUT PATCH DELETE"),
    ("/pipeline/tenants/acme/audit", "POST PUT PATCH DELETE"),
    ("/pipeline/analytics", "POST PUT PATCH DELETE"),
    ("/pipeline/analytics/export", "POST PUT PATCH DELETE"),
    ("/pipeline/artifacts", "POST PUT PATCH DELETE"),
    ("/pipeline/artifacts/a/b/c/d/e", "POST PUT PATCH DELETE"),
    ("/metrics", "POST PUT PATCH DELETE"),
    ("/pipeline/scaling", "POST PUT PATCH DELETE"),
    ("/health/live", "POST PUT PATCH DELETE"),
    ("/health/ready", "POST PUT PATCH DELETE"),
    ("/health/accept", "POST PUT PATCH DELETE"),
    ("/health/installation", "POST PUT PATCH DELETE"),
    ("/openapi.json", "POST PUT PATCH DELETE"),
    ("/docs", "POST PUT PATCH DELETE"),
    ("/pipeline/docs/", "POST PUT PATCH DELETE"),
    ("/pipeline/docs/index.html", "PUT"),
)

# fmt: on


def corpus() -> list[Bad]:
    """All of it."""
    return [
        *_bodies(),
        *_fields(),
        *_refused(),
        *_queries(),
        *_paths(),
        *_headers(),
        *_uploads(),
        *_hooks(),
        *_streams(),
        *_many(),
        *_methods(),
        *_states(),
    ]


def _bodies() -> Iterator[Bad]:
    """Bytes that are no good JSON, media types that are not JSON, bodies that are too large: for every route that takes JSON."""
    for method, path, good in WITH_BODY:
        for name, data, status, named in RAW:
            # What is wrong with a field of the one is an unknown field of the other.
            if status == 400 or path == "/pipeline/jobs":
                yield Bad(name, method, path, status, named, data, {"Content-Type": JSON})
        good_bytes = json.dumps(good).encode()
        for kind in TYPES:
            yield Bad(f"type {kind!r}", method, path, 415, "Content-Type", good_bytes, environ={"CONTENT_TYPE": kind})
        for coding in ("gzip", "br", "deflate", "identity, gzip"):
            yield Bad(
                f"coding {coding}", method, path, 415, "Content-Encoding", good_bytes, {"Content-Type": JSON, "Content-Encoding": coding}
            )
        yield Bad("a body of 2 MB", method, path, 413, "body", b" " * 2_000_000, {"Content-Type": JSON})
        for value, text in ((None, "null"), ([], "[]"), ("x", '"x"'), (1, "1"), (True, "true"), ([good], "[{}]")):
            yield Bad(f"no object: {text}", method, path, 422, "body", json.dumps(value).encode(), {"Content-Type": JSON})
        for name in ("X-Unknown", "Tenant_id", "__class__", "$where", "constructor"):
            yield Bad(f"field {name}", method, path, 422, name, json.dumps({**good, name: 1}).encode(), {"Content-Type": JSON})


def _fields() -> Iterator[Bad]:
    for body, named in BODIES:
        if named.startswith("params."):
            # The pipeline of that corpus has other params than the real one.
            continue
        yield Bad(f"field {named}", "POST", "/pipeline/jobs", 422, named, json.dumps(body).encode(), {"Content-Type": JSON})
    goods = {f"{method} {path}": good for method, path, good in WITH_BODY}
    for route, fields in FIELDS.items():
        method, path = route.split(" ")
        for name, values in fields.items():
            for value in values:
                body = json.dumps({**goods[route], name: value}).encode()
                yield Bad(f"{name} = {str(value)[:30]!r}", method, path, 422, name or "body", body, {"Content-Type": JSON})


def _refused() -> Iterator[Bad]:
    for path in ("/pipeline/jobs", "/pipeline/run"):
        for name, body, named in REFUSED:
            yield Bad(name, "POST", path, 422, named, json.dumps(body).encode(), {"Content-Type": JSON})
    for key in ("x" * 256, "x" * 5000):
        headers = {"Content-Type": JSON, "Idempotency-Key": key}
        yield Bad(f"a key of {len(key)}", "POST", "/pipeline/jobs", 422, "Idempotency-Key", b'{"pipeline":"sleep"}', headers)
        yield Bad(f"a key of {len(key)}", "POST", "/pipeline/schedules", 422, "Idempotency-Key", HOURLY, headers)
        yield Bad(
            f"a key of {len(key)}", "POST", "/pipeline/schedules/{schedule}/run", 422, "Idempotency-Key", headers={"Idempotency-Key": key}
        )


def _queries() -> Iterator[Bad]:
    for query, status, named in QUERIES:
        yield Bad("a filter", "GET", f"/pipeline/jobs?{query}", status, named or "parameter")
    for path, query, status, named in ASKED:
        yield Bad("a parameter", "GET", f"{path}?{query}", status, named)
    for value in ("", "STORE", "everything", "all,store", "%00"):
        yield Bad("a scope of metrics", "GET", f"/metrics?scope={value}", 422, "scope")
    yield Bad("a scope twice", "GET", "/metrics?scope=all&scope=all", 400, "scope")
    yield Bad("a misspelt scope", "GET", "/metrics?scop=all", 400, "scop")
    for value in ("", "DEFAULT", "g.pu", "default,gpu", "%00", "*"):
        yield Bad("a pool", "GET", f"/pipeline/scaling?pool={value}", 422, "pool")
    yield Bad("a pool twice", "GET", "/pipeline/scaling?pool=default&pool=default", 400, "pool")
    yield Bad("a misspelt pool", "GET", "/pipeline/scaling?pol=default", 400, "pol")
    for value in ("", "1", "yes", "TRUE", "%00"):
        yield Bad("dry_run", "DELETE", f"/pipeline/tenants/acme?dry_run={value}", 422, "dry_run")
    yield Bad("dry_run twice", "DELETE", "/pipeline/tenants/acme?dry_run=true&dry_run=true", 400, "dry_run")
    yield Bad("a misspelt dry_run", "DELETE", "/pipeline/tenants/acme?dryrun=true", 400, "dryrun")
    yield Bad("all tenants", "DELETE", "/pipeline/tenants/*", 422, "tenant_id")
    for query in ("signature=" + "x" * 1025, "signature=a&signature=b", "sig=1"):
        status = 422 if len(query) > 1000 else 400
        yield Bad("a signature", "GET", f"/pipeline/artifacts/acme/main/job_1_00000000/1/a.txt?{query}", status, "sig")


def _paths() -> Iterator[Bad]:
    for odd in ODD_IDS:
        for method, path, body in (
            ("GET", f"/pipeline/jobs/{odd}", None),
            ("DELETE", f"/pipeline/jobs/{odd}", None),
            ("PATCH", f"/pipeline/jobs/{odd}", b'{"priority":1}'),
            ("POST", f"/pipeline/jobs/{odd}/cancel", None),
            ("POST", f"/pipeline/jobs/{odd}/signals/go", b"{}"),
        ):
            yield Bad(
                "an odd id", method, path, 404, "job" if "%2f" not in odd else "nothing", body, {"Content-Type": JSON} if body else {}
            )
        for method in ("GET", "PATCH", "DELETE"):
            headers = {"Upload-Offset": "0", "Content-Type": TUS} if method == "PATCH" else {}
            yield Bad("an odd id", method, f"/pipeline/uploads/{odd}", 404, "upload" if "%2f" not in odd else "nothing", headers=headers)
        yield Bad("an odd id", "GET", f"/pipeline/jobs/{odd}/transcript/search?q=x", 404, "job" if "%2f" not in odd else "nothing")
        yield Bad("an odd key id", "DELETE", f"/pipeline/tenants/acme/keys/{odd}", 404, "key" if "%2f" not in odd else "nothing")
        yield Bad("an odd file", "GET", f"/pipeline/artifacts/{odd}", 404, "nothing" if "%0a" in odd else "file")
    for odd in ODD_TENANTS:
        status, named = (404, "nothing") if "%2f" in odd else (422, "tenant_id")
        routes = [("GET", "/limits"), ("GET", "/usage"), ("GET", "/keys"), ("DELETE", ""), ("PUT", "/limits")]
        for method, tail in routes:
            body = b"{}" if method == "PUT" else None
            headers = {"Content-Type": JSON} if body else {}
            yield Bad("an odd tenant", method, f"/pipeline/tenants/{odd}{tail}", status, named, body, headers)
        for name in ("tenant_id", "workspace_id"):
            scoped = f"{name}={odd.replace('%2f', '/')}"
            yield Bad("an odd scope", "POST", f"/pipeline/uploads?{scoped}", 422, name, headers={"Upload-Length": "1"})
            yield Bad("an odd scope", "GET", f"/pipeline/artifacts?{scoped}", 422, name)
    searches = (("", 422, "q"), ("q=", 422, "q"), ("q=" + "x" * 501, 422, "q"), ("q=x&limit=0", 422, "limit"), ("q=x&z=1", 400, "z"))
    for query, status, named in searches:
        yield Bad("an odd search", "GET", f"/pipeline/jobs/{{ended}}/transcript/search?{query}", status, named)
    for path in NOWHERE:
        yield Bad("no such path", "GET", path, 404, "nothing")


def _headers() -> Iterator[Bad]:
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "[::2]", "169.254.169.254"):
        yield Bad(f"host {host}", "GET", "/pipeline/jobs", 403, "host", headers={"Host": host})
    for site in ("cross-site", "same-site", "x"):
        for method, path in (
            ("POST", "/pipeline/jobs"),
            ("DELETE", "/pipeline/jobs/{job}"),
            ("POST", "/pipeline/uploads"),
            ("PUT", "/pipeline/tenants/acme/limits"),
        ):
            yield Bad(f"a page of another site ({site})", method, path, 403, "site", headers={"Sec-Fetch-Site": site})
    for text in (
        "",
        "Bearer",
        "Bearer ",
        "bearer x",
        "Basic YTpi",
        "Bearer pjk_",
        "Bearer pjk_0123456789abcdef_" + "x" * 43,
        "Bearer " + "x" * 5000,
        "pjk_x",
        "Bearer a b",
    ):
        yield Bad(
            f"key {text[:20]!r}",
            "GET",
            "/pipeline/jobs",
            401,
            "key",
            headers={"Authorization": text},
            environ={"REMOTE_ADDR": "203.0.113.7"},
        )


def _uploads() -> Iterator[Bad]:
    begin, go_on = "/pipeline/uploads", "/pipeline/uploads/{upload}"
    numbers = ("", "-1", "1.5", "x", "0x10", "1e3", " 1", "+1", "9" * 16, "%D9%A1", "null", "1,1")
    for value in numbers:
        yield Bad(f"length {value!r}", "POST", begin, 400, "Upload-Length", headers={"Upload-Length": value})
        yield Bad(f"offset {value!r}", "PATCH", go_on, 400, "Upload-Offset", b"x", {"Upload-Offset": value, "Content-Type": TUS})
    yield Bad("no length", "POST", begin, 400, "Upload-Length")
    yield Bad("no offset", "PATCH", go_on, 400, "Upload-Offset", b"x", {"Content-Type": TUS})
    yield Bad("too large", "POST", begin, 413, "Upload-Length", headers={"Upload-Length": "999999999999"})
    for offset in ("1", "5", "999999999"):
        yield Bad(f"at {offset}", "PATCH", go_on, 409, "Upload-Offset", b"x", {"Upload-Offset": offset, "Content-Type": TUS})
    yield Bad("more than was promised", "PATCH", go_on, 413, "body", b"x" * 100, {"Upload-Offset": "0", "Content-Type": TUS})
    for kind in ("", "text/plain", JSON, "application/octet-stream", "multipart/form-data", "offset+octet-stream"):
        yield Bad(f"type {kind!r}", "PATCH", go_on, 415, "Content-Type", b"x", {"Upload-Offset": "0"}, {"CONTENT_TYPE": kind})
        yield Bad(f"type {kind!r}", "POST", begin, 415, "Content-Type", b"x", {"Upload-Length": "1"}, {"CONTENT_TYPE": kind})
    for coding in ("gzip", "br", "zstd"):
        headers = {"Upload-Offset": "0", "Content-Type": TUS, "Content-Encoding": coding}
        yield Bad(f"coding {coding}", "PATCH", go_on, 415, "Content-Encoding", b"x", headers)
    for value in ("", "0.2.2", "2.0.0", "1.0", "x", "1.0.0, 1.0.0"):
        yield Bad(f"version {value!r}", "POST", begin, 412, "Tus-Resumable", headers={"Upload-Length": "1", "Tus-Resumable": value})
        yield Bad(f"version {value!r}", "GET", go_on, 412, "Tus-Resumable", headers={"Tus-Resumable": value})
        yield Bad(f"version {value!r}", "DELETE", go_on, 412, "Tus-Resumable", headers={"Tus-Resumable": value})
    for value in ("a b c", "a !", "a /w==", "a DQo=", "=, =", "a YQ==,a YQ==", "é YQ==", ",", "x" * 65 + " YQ==", "a " + "A" * 5000):
        yield Bad(
            f"metadata {value[:20]!r}", "POST", begin, 400, "Upload-Metadata", headers={"Upload-Length": "1", "Upload-Metadata": value}
        )
    for value in ("", "sha1", "sha1 !", "sha1 YQ==", "md5 1B2M2Y8AsgTpgAmY7PhCfg==", "SHA1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "crc32 AAAAAA=="):
        headers = {"Upload-Offset": "0", "Content-Type": TUS, "Upload-Checksum": value}
        yield Bad(f"checksum {value[:20]!r}", "PATCH", go_on, 400, "Upload-Checksum", b"x", headers)
    wrong = {"Upload-Offset": "0", "Content-Type": TUS, "Upload-Checksum": "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk="}
    yield Bad("another checksum", "PATCH", go_on, 460, "Upload-Checksum", b"x", wrong)
    yield Bad("an unknown parameter", "POST", begin + "?tenant=acme", 400, "tenant", headers={"Upload-Length": "1"})
    for query, status, named in (
        ("", 422, "tenant_id"), ("workspace_id=main", 422, "tenant_id"), ("tenant_id=", 422, "tenant_id"),
        ("tenant_id=acme&workspace_id=-a", 422, "workspace_id"), ("tenant_id=acme&limit=0", 422, "limit"),
        ("tenant_id=acme&limit=101", 422, "limit"), ("tenant_id=acme&limit=x", 422, "limit"), ("tenant_id=acme&cursor=", 422, "cursor"),
        ("tenant_id=acme&cursor=!", 422, "cursor"), ("tenant_id=acme&cursor=" + "_" * 11, 422, "cursor"),
        ("tenant_id=acme&complete=true", 400, "complete"), ("tenant_id=acme&tenant_id=acme", 400, "tenant_id"),
    ):  # fmt: skip
        yield Bad("a parameter", "GET", f"{begin}?{query}", status, named)
    for odd in ODD_TENANTS:
        yield Bad("an odd tenant", "GET", f"{begin}?tenant_id={odd.replace('%2f', '/')}", 422, "tenant_id")
    yield Bad("an upload in use", "DELETE", "/pipeline/uploads/{used}", 409, "job")


def _hooks() -> Iterator[Bad]:
    for odd in ODD_IDS:
        named = "nothing" if "%2f" in odd else "endpoint"
        for method, tail in (("GET", ""), ("DELETE", ""), ("POST", "/rotate"), ("POST", "/test")):
            yield Bad("an odd endpoint", method, f"/pipeline/webhook-endpoints/{odd}{tail}", 404, named)
        for method, tail in (("GET", ""), ("POST", "/redeliver")):
            yield Bad("an odd delivery", method, f"/pipeline/deliveries/{odd}{tail}", 404, "nothing" if "%2f" in odd else "delivery")
        yield Bad("an odd job", "GET", f"/pipeline/jobs/{odd}/deliveries", 404, "nothing" if "%2f" in odd else "job")
    for path in ("/pipeline/webhook-endpoints", "/pipeline/deliveries"):
        for query, status, named in (
            ("limit=0", 422, "limit"),
            ("limit=x", 422, "limit"),
            ("cursor=!", 422, "cursor"),
            ("x=1", 400, "x"),
            ("limit=1&limit=1", 400, "limit"),
        ):
            yield Bad("a parameter", "GET", f"{path}?tenant_id=acme&{query}", status, named)
    for odd in ODD_TENANTS:
        status, named = (404, "nothing") if "%2f" in odd else (422, "tenant_id")
        yield Bad("an odd tenant", "GET", f"/pipeline/tenants/{odd}/webhook-secret", status, named)
        yield Bad("an odd tenant", "POST", f"/pipeline/tenants/{odd}/webhook-secret/rotate", status, named)


def _streams() -> Iterator[Bad]:
    for odd in ODD_IDS:
        for tail in ("/events", "/logs", "/ws"):
            yield Bad("an odd job", "GET", f"/pipeline/jobs/{odd}{tail}", 404, "nothing" if "%2f" in odd else "job")
    for query, status, named in (
        ("after=x", 422, "after"), ("after=-1", 422, "after"), ("after=1&after=2", 400, "after"), ("limit=0", 422, "limit"),
        ("limit=x", 422, "limit"), ("x=1", 400, "x"), ("after=%00", 422, "after"), ("after=99999999999999999999", 422, "after"),
    ):  # fmt: skip
        yield Bad("a parameter", "GET", f"/pipeline/jobs/{{job}}/events?{query}", status, named)
        yield Bad("a parameter", "GET", f"/pipeline/jobs/{{job}}/logs?{query}", status, named)
        yield Bad("a parameter", "GET", f"/pipeline/events?tenant_id=acme&{query}", status, named)
    for query, named in (
        ("level=debug", "level"), ("level=", "level"), ("level=10", "level"), ("attempt=0", "attempt"), ("attempt=-1", "attempt"),
        ("attempt=x", "attempt"), ("attempt=1.0", "attempt"), ("limit=1001", "limit"), ("attempt=99999999999999999999", "attempt"),
    ):  # fmt: skip
        yield Bad("a parameter", "GET", f"/pipeline/jobs/{{job}}/logs?{query}", 422, named)
    for odd in ("-a", "a%20b", "", "x" * 65):
        yield Bad("an odd tenant", "GET", f"/pipeline/events?tenant_id={odd}", 422, "tenant_id")
    yield Bad("a plain request", "GET", "/pipeline/jobs/{job}/ws", 426, "WebSocket")


def _many() -> Iterator[Bad]:
    """Batches, schedules, retries, limits of pipelines."""
    for odd in ODD_IDS:
        slash = "%2f" in odd
        for method, path, named in (
            ("GET", f"/pipeline/batches/{odd}", "batch"), ("POST", f"/pipeline/batches/{odd}/cancel", "batch"),
            ("GET", f"/pipeline/workflows/{odd}", "batch"), ("GET", f"/pipeline/workflows/{odd}.svg", "batch"),
            ("GET", f"/pipeline/workflows/{odd}.mmd", "batch"),
            ("GET", f"/pipeline/workflows/{odd}/events", "batch"), ("POST", f"/pipeline/workflows/{odd}/cancel", "batch"),
            ("POST", f"/pipeline/workflows/{odd}/retry", "batch"), ("DELETE", f"/pipeline/workflows/{odd}", "batch"),
            ("POST", f"/pipeline/jobs/{odd}/retry", "job"), ("GET", f"/pipeline/schedules/{odd}", "schedule"),
            ("DELETE", f"/pipeline/schedules/{odd}", "schedule"), ("POST", f"/pipeline/schedules/{odd}/pause", "schedule"),
            ("POST", f"/pipeline/schedules/{odd}/resume", "schedule"), ("POST", f"/pipeline/schedules/{odd}/run", "schedule"),
        ):  # fmt: skip
            yield Bad("an odd id", method, path, 404, "nothing" if slash else named)
    for path in ("/pipeline/batches", "/pipeline/workflows", "/pipeline/schedules"):
        for query, status, named in (("limit=0", 422, "limit"), ("limit=x", 422, "limit"), ("cursor=!", 422, "cursor"), ("x=1", 400, "x")):
            yield Bad("a parameter", "GET", f"{path}?{query}", status, named)
    for name in ("go", "A", "a:b", "%00", "x" * 65):
        yield Bad("an unknown signal", "POST", f"/pipeline/jobs/{{job}}/signals/{name}", 422, "signal", b"{}", {"Content-Type": JSON})
    for name, status in (("nope", 404), ("-a", 422), ("x" * 65, 422)):
        yield Bad("an unknown pipeline", "GET", f"/pipeline/pipelines/{name}/limits", status, "pipeline")
        body, headers = b'{"max_concurrent":1}', {"Content-Type": JSON}
        yield Bad("an unknown pipeline", "PUT", f"/pipeline/pipelines/{name}/limits", status, "pipeline", body, headers)
    jobs = (
        ("jobs.0.pipeline", {"pipeline": "nope"}), ("jobs.0.url", {}), ("jobs.0.url", {"url": "ftp://x/"}),
        ("jobs.0.priority", {"priority": 99}),
        ("jobs.0.url", {"url": "upload://" + "0" * 24}), ("jobs.0.url", {"url": "upload://{incomplete}"}), ("jobs.0.x", {"x": 1}),
        *(("jobs.0.run_at", {"pipeline": "sleep", "run_at": date}) for date in ODD_DATES),
    )  # fmt: skip
    for named, job in jobs:
        body = json.dumps({"jobs": [job]}).encode()
        yield Bad(f"a batch with {named}", "POST", "/pipeline/batches", 422, named, body, {"Content-Type": JSON})
    a, b = {"pipeline": "sleep", "name": "a"}, {"pipeline": "sleep", "name": "b"}
    graphs = (
        ("jobs.0.name", [{"pipeline": "sleep"}]), ("jobs.0.name", [{**a, "name": "-"}]), ("jobs.0.name", [{**a, "name": 1}]),
        ("jobs.1.name", [a, a]), ("jobs.0.depends_on", [{**a, "depends_on": ["a"]}]), ("jobs.0.depends_on.0", [{**a, "depends_on": ["b"]}]),
        ("jobs.0.depends_on", [{**a, "depends_on": ["b"]}, {**b, "depends_on": ["a"]}]),
        ("jobs.0.depends_on.0", [{**a, "depends_on": [1]}]),
        ("jobs.0.depends_on", [{**a, "depends_on": "b"}, b]), ("jobs.0.depends_on", [{**a, "depends_on": ["b"] * 101}, b]),
        ("jobs.1.on_dependency_failure", [b, {**a, "depends_on": ["b"], "on_dependency_failure": "x"}]),
        ("jobs.0.pipeline", [{**a, "pipeline": "nope"}]), ("jobs.0.priority", [{**a, "priority": 99}]),
        ("jobs.0.run_at", [{**a, "run_at": "now"}]), ("jobs", [{**a, "name": f"n{i}"} for i in range(1001)]),
    )  # fmt: skip
    for named, those in graphs:
        body = json.dumps({"jobs": those}).encode()
        yield Bad(f"a workflow with {named}", "POST", "/pipeline/workflows", 422, named, body, {"Content-Type": JSON})
    too_many = json.dumps({"jobs": [{"pipeline": "sleep"}] * 1001}).encode()
    yield Bad("1,001 jobs", "POST", "/pipeline/batches", 422, "jobs", too_many, {"Content-Type": JSON})


def _methods() -> Iterator[Bad]:
    """Methods that a route does not have. `Allow` says which it has."""
    for path, methods in OTHER_METHODS:
        for method in (*methods.split(), "TRACE", "BREW", "CONNECT"):
            yield Bad("no such method", method, path, 405, "Allow")


def _states() -> Iterator[Bad]:
    """Well formed, and not in that state."""
    for path in ("/pipeline/jobs/{ended}", "/pipeline/jobs/{running}"):
        yield Bad("it waits no more", "PATCH", path, 409, "wait", b'{"priority":1}', {"Content-Type": JSON})
    same = {"Content-Type": JSON, "Idempotency-Key": "used before"}
    for name, status, named in (("used before", 422, "Idempotency-Key"), ("its schedule is gone", 409, "schedule")):
        headers = {"Content-Type": JSON, "Idempotency-Key": name}
        yield Bad(f"a key, {name}", "POST", "/pipeline/schedules", status, named, HOURLY, headers)
    for name, status, named in (("used before", 422, "Idempotency-Key"), ("its job is gone", 409, "job")):
        yield Bad(f"a key, {name}", "POST", "/pipeline/schedules/{schedule}/run", status, named, headers={"Idempotency-Key": name})
    yield Bad("a key of another request", "POST", "/pipeline/jobs", 422, "Idempotency-Key", b'{"pipeline":"sleep","priority":9}', same)
