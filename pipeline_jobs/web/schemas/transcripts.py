"""`/pipeline/jobs/{job_id}/transcript/search`: what is asked, and what is found."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from pipeline_jobs.web.schemas.fields import Parameters, integer

#: Longest query, in characters.
MAX_QUERY = 500
Limit = Annotated[int, *integer(1, 100, 10)]


class SearchRequest(Parameters):
    """What to look for."""

    q: Annotated[str, Field(min_length=1, max_length=MAX_QUERY)] = Field(
        description="What to look for, as a word, a phrase or a question.", examples=["when does the harbour open"]
    )
    limit: Limit = Field(10, description="Maximum number of matches, 1..100.")


class Match(BaseModel):
    """A passage of the transcript. Times are seconds of the film."""

    start: float = Field(description="Where it begins.")
    end: float = Field(description="Where it ends.")
    text: str = Field(description="What is said.")
    score: float = Field(description="How well it fits, up to 1. To be compared within one answer only.")


class Matches(BaseModel):
    """What was found, the best match first."""

    job_id: str = Field(description="The job's id.")
    by: Literal["meaning", "words"] = Field(
        description="How was looked: by meaning, if the job made the output `search` and this server has what it takes; else by words."
    )
    matches: list[Match] = Field(description="The best match first.")
    count: int = Field(description="Number of matches in this answer.")
