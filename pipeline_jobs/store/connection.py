"""The connection to the server, and what its trouble is called here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis

from pipeline_jobs.exceptions import InvalidInput, StoreUnavailable


def connect(url: str) -> redis.Redis:
    """A thread-safe client with bounded waits. Text in, text out."""
    return redis.Redis.from_url(
        url, decode_responses=True, socket_timeout=10, socket_connect_timeout=5, health_check_interval=30, protocol=2
    )


@contextmanager
def store_errors() -> Iterator[None]:
    """Server and connection trouble as `StoreUnavailable`; no key or value in its text."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise StoreUnavailable("the store cannot be reached") from error
    except (redis.exceptions.OutOfMemoryError, redis.exceptions.ReadOnlyError) as error:
        raise StoreUnavailable("the store cannot write now") from error
    except UnicodeEncodeError:
        raise InvalidInput("text is not valid Unicode") from None
    except redis.ResponseError as error:
        # OOM and MISCONF (disk full) come out of a script as a plain ResponseError.
        if any(word in str(error) for word in ("OOM", "MISCONF", "LOADING", "READONLY", "MASTERDOWN")):
            raise StoreUnavailable("the store cannot write now") from error
        raise
