"""What an error of a stage of a media job costs it, as the job's params say (`params.on_error`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

#: As `pipelines.OnError`, which stages do not know.
OnError = Literal["fail", "warn", "skip"]
#: The stages that a job can do without. Of the others' work everything else is made.
MayFail = Literal["transcribe", "analyse", "speakers", "summarise", "render"]
#: What their errors cost a job that does not say otherwise.
DEFAULTS: Mapping[MayFail, OnError] = {"transcribe": "warn", "analyse": "warn", "speakers": "warn", "summarise": "warn", "render": "warn"}
#: What `transcribe` gives of what could not be listened to.
NOTHING: Mapping[str, Any] = {"transcript": "", "segments": [], "speech_model": None}
#: What stands for that of `analyse`.
NOT_ANALYSED: Mapping[str, Any] = {"language": None, "summary": "", "keywords": []}


def on_error(stage: MayFail) -> Callable[[Mapping[str, Any]], OnError]:
    """`Stage.on_error` of a stage: what the job's parameters say of it, else the default."""

    def of(params: Mapping[str, Any]) -> OnError:
        chosen: OnError = params.get("on_error", {}).get(stage, DEFAULTS[stage])
        return chosen

    return of
