"""The operations of the API, from its OpenAPI document: what each takes and answers."""

from __future__ import annotations

from typing import Any

from pipeline_jobs.serve import create_api
from pipeline_jobs.settings import Settings
from tests.docs_site.tables import cell, table


def document() -> dict[str, Any]:
    """With every feature on."""
    web = create_api(Settings(enable_job_queue=True, enable_run_api=True)).test_client()
    return dict(web.get("/openapi.json", environ_base={"REMOTE_ADDR": "127.0.0.1"}).get_json())


def pages() -> dict[str, str]:
    told = document()
    tags = {tag["name"]: tag.get("description", "") for tag in told.get("tags", ())}
    by_tag: dict[str, list[str]] = {}
    for path, item in told["paths"].items():
        for method, operation in item.items():
            by_tag.setdefault(operation["tags"][0], []).append(_operation(method.upper(), path, operation))
    parts = [
        "# Operations\n\nEvery operation of the HTTP API, made from its OpenAPI document (`/openapi.json`; `/docs` lets you try them). "
        "[The HTTP API](../api.md) says how they belong together, [errors](errors.md) what the codes mean.\n"
    ]
    for tag, operations in by_tag.items():
        parts.append(f"## {tag}\n\n{tags.get(tag, '')}\n\n" + "\n".join(operations))
    parts.append("## Schemas\n\n" + "\n".join(_schema(name, told["components"]["schemas"][name]) for name in _shown(told)))
    return {"reference/operations.md": "\n".join(parts)}


def _shown(told: dict[str, Any]) -> list[str]:
    """Pipelines' own parameters have a page of their own."""
    return sorted(name for name in told["components"]["schemas"] if not name.startswith("params."))


def _operation(method: str, path: str, told: dict[str, Any]) -> str:
    asked = [[f"`{one['name']}`", one["in"], kind(one["schema"]), one["description"]] for one in told.get("parameters", ())]
    bodies = [kind(content["schema"]) for content in told.get("requestBody", {}).get("content", {}).values()]
    answers = [
        [status, ", ".join(kind(content["schema"]) for content in one.get("content", {}).values()) or "-", one["description"]]
        for status, one in told["responses"].items()
        if int(status) < 400
    ]
    refusals = ", ".join(status for status in told["responses"] if int(status) >= 400)
    return "\n".join([
        f"### {told['operationId']}\n",
        f"**{told['summary']}**: `{method} {path}`\n\n{told['description']}\n",
        table(("parameter", "in", "type", "what"), asked) if asked else "",
        f"Body: {', '.join(bodies)}\n" if bodies else "",
        table(("status", "answer", "when"), answers),
        f"Errors: {refusals}.\n",
    ])  # fmt: skip


def _schema(name: str, told: dict[str, Any]) -> str:
    required = set(told.get("required", ()))
    rows = [
        [f"`{field}`{' (required)' if field in required else ''}", kind(one), one.get("description", "")]
        for field, one in told.get("properties", {}).items()
    ]
    values = ", ".join(f"`{value}`" for value in told.get("enum", ()))
    said = "\n\n".join(text for text in (told.get("description", ""), f"One of {values}." if values else "") if text)
    return f"### {name}\n\n{said}\n\n{table(('field', 'type', 'what'), rows) if rows else ''}"


def kind(schema: dict[str, Any]) -> str:
    """A type in words; a schema of ours as a link to it."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    choices = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if choices:
        return " or ".join(kind(one) for one in choices)
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {kind(schema.get('items', {}))}"
    bounds = ((">=", "minimum"), (">", "exclusiveMinimum"), ("<=", "maximum"), ("<", "exclusiveMaximum"))
    limits = [f"{sign} {schema[name]}" for sign, name in bounds if name in schema]
    return cell(" ".join([str(schema.get("type", "anything")), *limits]))
