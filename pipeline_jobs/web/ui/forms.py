"""What is wrong with a form, at its fields."""

from __future__ import annotations

from collections.abc import Collection

from flask import Response


def problems_at(told: Response, shown: Collection[str]) -> dict[str, str]:
    """Each error of an answer of the API's at the field of the form where it belongs; what has none at the top (`form`).

    :param shown: the fields that the form has.
    """
    body = told.get_json()
    errors = body.get("errors") or [{"field": body.get("field") or "form", "message": body["detail"]}]
    placed: dict[str, list[str]] = {}
    for one in errors:
        field, text = str(one["field"]), str(one["message"])
        name = field.partition(".")[0] if field.partition(".")[0] in shown else "form"
        placed.setdefault(name, []).append(text if field in (name, "form") or text.startswith(field) else f"{field}: {text}")
    return {name: "; ".join(texts) for name, texts in placed.items()}
