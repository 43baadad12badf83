"""Hostile bodies for every route that takes one, made from the OpenAPI document: any number of them, the same for the same seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

JSON = "application/json"
#: Values that some code trips over, in the place of any other.
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**31,
    2**53 + 1,
    2**63,
    -(2**63) - 1,
    10**400,
    1e308,
    -0.0,
    5e-324,
    "",
    " ",
    "\0",
    "\ud800",
    "a\nb",
    "\u202e",
    "﷽" * 300,
    "x" * 20_000,
    "../../etc/passwd",
    "__proto__",
    "{{7*7}}",
    "%00",
    "$(id)",
    "'; DROP TABLE jobs; --",
    "\r\nX-Injected: 1",
    [],
    {},
    [[]],
    [None] * 500,
    {"": {}},
    {"__class__": {"__init__": {}}},
    "file:///etc/passwd",
    "http://127.0.0.1:6379/",
    "http://[::1%25lo]/",
    "gopher://x/_",
    "upload://0",
    "http://" + "a." * 500,
    "9999-12-31T23:59:60Z",
    "0000-00-00T00:00:00Z",
    "* * * * * *",
    "*/0 * * * *",
    "0 0 31 2 *",
    "0-59/1,0-59/1,0-59/1 * * * *",
    "UTC\0",
    "whsec_",
    "job_0_00000000",
    "*",
    "a" * 128,
    "é" * 64,
    "NaN",
    "Infinity",
)
#: Bodies that are no JSON, or hardly.
RAW: tuple[bytes, ...] = (
    b"",
    b" ",
    b"\0",
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}",
    b"{",
    b"}",
    b'{"a"',
    b'{"a":',
    b'{"a":}',
    b"[1,]",
    b"nul",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"1" * 5000,
    b'"' + b"\\u0000" * 100 + b'"',
    b'"\\ud800"',
    b"[" * 300,
    b"[" * 150_000,
    b'{"a":' * 150_000,
    b'{"a":1,"a":2}',
    b"// {}",
    b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'aa'>]><x>&a;</x>",
    b"a=1&b=2",
    b"\x1f\x8b\x08" + b"\0" * 100,
    b"'{}'",
    b"[]",
    b"0",
    b'"{}"',
    json.dumps({f"k{number}": 1 for number in range(70_000)}).encode(),
    b"[" + b"{}," * 200_000 + b"{}]",
    b'["' + b"\\\\" * 200_000,
    b"{}" * 1000,
)
TYPES = (JSON, JSON, JSON, JSON, "application/json; charset=utf-16", "text/plain", "application/x-www-form-urlencoded", "a/b" * 400, "")


@dataclass(frozen=True, slots=True)
class Hostile:
    """One request."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]


class Hostiles:
    """Makes them."""

    def __init__(self, document: dict[str, Any], seed: int) -> None:
        self._random = random.Random(seed)
        self._schemas = document["components"]["schemas"]
        self.routes = [
            (method, path, content[JSON]["schema"])
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
            if isinstance(operation, dict) and JSON in (content := operation.get("requestBody", {}).get("content", {}))
        ]

    def make(self, count: int) -> Iterator[Hostile]:
        """So many, over all routes in turn."""
        for number in range(count):
            method, path, schema = self.routes[number % len(self.routes)]
            body = self._random.choice(RAW) if self._random.random() < 0.2 else self._json(schema)
            for name in ("job_id", "batch_id", "schedule_id", "tenant_id", "endpoint_id", "delivery_id", "pipeline"):
                path = path.replace(f"{{{name}}}", self._random.choice(("acme", "job_0_00000000", "%00", "..%2f..", "a" * 200)))
            headers = {"Content-Type": self._random.choice(TYPES)}
            if self._random.random() < 0.2:
                headers["Idempotency-Key"] = self._random.choice(("x" * 300, "a", "\xe9", "", "a,b"))
            yield Hostile(method.upper(), path, body, headers)

    def _json(self, schema: dict[str, Any]) -> bytes:
        """A body that is nearly good, with some of its places taken by others."""
        value = self._value(schema, 0)
        if isinstance(value, dict):
            for _ in range(self._random.randint(1, 3)):
                name = self._random.choice([*value, *self._properties(schema), "unknown", "\0", "__proto__"])
                value[name] = self._random.choice(VALUES)
        return json.dumps(value, ensure_ascii=self._random.random() < 0.5).encode("utf-8", "surrogatepass")

    def _properties(self, schema: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self._resolved(schema).get("properties", {})
        return found

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self._schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        return found

    def _value(self, schema: dict[str, Any], depth: int) -> Any:
        """A value of this schema, or of something else."""
        schema = self._resolved(schema)
        if depth > 4 or self._random.random() < 0.05 * depth:
            return self._random.choice(VALUES)
        if several := schema.get("anyOf", schema.get("oneOf")):
            return self._value(self._random.choice(several), depth + 1)
        if "enum" in schema:
            return self._random.choice(schema["enum"])
        match schema.get("type"):
            case "object":
                required = schema.get("required", [])
                return {
                    name: self._value(part, depth + 1)
                    for name, part in schema.get("properties", {}).items()
                    if name in required or self._random.random() < 0.3
                }
            case "array":
                return [self._value(schema.get("items", {}), depth + 1) for _ in range(self._random.choice((0, 1, 2, 50)))]
            case "integer" | "number":
                return schema.get("minimum", 1)
            case "boolean":
                return True
        return self._random.choice(schema.get("examples", ["sleep", "https://media.example/a.mp4", "0 3 * * *"]))
