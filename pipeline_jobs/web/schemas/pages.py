"""A page of a list: what is asked for, and what is answered."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, create_model

from pipeline_jobs.web.schemas.fields import Parameters, integer

DEFAULT_LIMIT, MAX_LIMIT = 25, 100

Limit = Annotated[int, *integer(1, MAX_LIMIT, DEFAULT_LIMIT)]
Cursor = Annotated[str, Field(min_length=1, max_length=128)]


class PageRequest(Parameters):
    """Which page of a list."""

    limit: Limit = Field(DEFAULT_LIMIT, description="Maximum number of entries on the page.")
    cursor: Cursor | None = Field(None, description="`next_cursor` of the previous page.")


def page_of(name: str, items: str, item: type[BaseModel], about: str, count: str = "Number of items on this page.") -> type[BaseModel]:
    """The model of a page of a list: `page_of("JobList", "jobs", Job, "One page of jobs, newest first.")`."""
    following = Field(description="The `cursor` of the next page; null on the last page.")
    fields: Any = {
        items: (list[item], Field(description="The items of this page.")),  # type: ignore[valid-type]
        "count": (int, Field(description=count)),
        "next_cursor": (str | None, following),
    }
    return create_model(name, __doc__=about, **fields)
