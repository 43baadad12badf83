"""What `/health/...` answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class Live(BaseModel):
    """The process answers."""

    status: Literal["ok"] = Field(description="Always `ok`.")


class PartHealth(BaseModel):
    """The health of one part of the service."""

    ok: bool = Field(description="Whether the part works.")
    reason: str | None = Field(None, description="Why it does not work.")
    warning: str | None = Field(None, description="What should be fixed, although the part works.")
    keys_required: bool | None = Field(
        None, description="Only of the part `access`: whether a request needs an API key. Without one only the same machine is served."
    )


class Ready(BaseModel):
    """Every part works."""

    status: Literal["ready"] = Field(description="Always `ready`.")
    parts: dict[str, PartHealth] = Field(description="Each part by its name.")


class FoundCondition(BaseModel):
    """A condition that holds."""

    condition: str = Field(description="Its name, as in the metric `pipeline_condition`.")
    part: str = Field(description="The part of the service that it is about.")
    severity: Literal["error", "warning", "advice"] = Field(
        description="`error`: something does not work; `warning`: it will not for long; `advice`: it could be better."
    )
    what: str = Field(description="What is wrong.")
    detail: str = Field(description="Where, and by how much.")
    to_do: str = Field(description="What ends it.")


class Installation(BaseModel):
    """The health of the whole installation."""

    status: Literal["ok", "warning", "error"] = Field(
        description="The worst severity of the conditions that hold, apart from advice; `ok`: there is none."
    )
    parts: dict[str, PartHealth] = Field(description="Each part by its name.")
    conditions: list[FoundCondition] = Field(description="The conditions that hold.")
