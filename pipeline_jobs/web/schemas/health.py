"""What `/health/...` answers."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
)


class Live(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class PartHealth(BaseModel):
    """One part that the service stands on."""

    model_config = ConfigDict(extra="allow")

    ok: bool
    reason: str | None = None
    warning: str | None = Field(None, description="What is to be mended, although the part works.")


class Ready(BaseModel):
    """Every part works."""

    status: Literal["ready"]
    parts: dict[str, PartHealth]
