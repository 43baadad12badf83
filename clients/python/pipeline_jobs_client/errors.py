"""What the API says when it says no."""

from __future__ import annotations

from typing import TypeVar

import httpx

from pipeline_jobs_client.generated.models import Problem


class Refused(Exception):
    """The API refused a request; `problem` is its body (RFC 9457): switch on `problem.code`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.code}: {problem.detail}")
        self.problem = problem


T = TypeVar("T")


def checked(answer: T | Problem | None) -> T:
    """The answer of a generated operation, if it is a good one.

    :raises Refused: it is a problem, or one of a status that the document does not have.
    """
    if isinstance(answer, Problem):
        raise Refused(answer)
    if answer is None:
        raise httpx.DecodingError("the API gave an answer that its document does not have")
    return answer


def check_stream(response: httpx.Response) -> None:
    """:raises Refused: this answer, whose body has not been read, is a problem."""
    if response.status_code >= 400:
        response.read()
        raise Refused(Problem.from_dict(response.json()))
