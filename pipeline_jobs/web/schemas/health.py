"""What `/health/...` answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Live(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class PartHealth(BaseModel):
    """The health of one part of the service."""

    model_config = ConfigDict(extra="allow")

    ok: bool
    reason: str | None = None
    warning: str | None = Field(None, description="What should be fixed, although the part works.")


class Ready(BaseModel):
    """Every part works."""

    status: Literal["ready"]
    parts: dict[str, PartHealth]


class FoundCondition(BaseModel):
    """A condition that holds."""

    condition: str = Field(description="Its name, as in the metric `pipeline_condition`.")
    part: str
    severity: Literal["error", "warning", "advice"]
    what: str
    detail: str = Field(description="Where, and by how much.")
    to_do: str


class Installation(BaseModel):
    """The health of the whole installation."""

    status: Literal["ok", "warning", "error"]
    parts: dict[str, PartHealth]
    conditions: list[FoundCondition]
