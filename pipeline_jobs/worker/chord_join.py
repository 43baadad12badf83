"""A chord whose last member is a job, told so that it can be told again.

Celery takes any error between the end of the last member and the sending of the body for the chord's own: it fails the body, and deletes
what the members gave. But a store or a broker that is away, or a limit that refuses the body for now, ends no chord. Then nothing is
deleted, the row of the job's continuation stays, and maintenance tells it once more.

Written against Celery 5.7.0: look again at every bump.
"""

from __future__ import annotations

import sys
from typing import Any

from kombu.exceptions import OperationalError

from pipeline_jobs.exceptions import IdTaken, StoreUnavailable, TryLater
from pipeline_jobs.worker.by_sentinel import BySentinel

Errors = tuple[type[BaseException], ...]


class NotNow(BaseException):
    """Its cause is what cannot be done now. No Exception: Celery would catch it."""


class _Careful:
    """A client of the server that does nothing as `NotNow` passes by: what Celery would tidy up then stays."""

    def __init__(self, of: Any) -> None:
        self._of = of

    def __getattr__(self, name: str) -> Any:
        return _nothing if isinstance(sys.exc_info()[1], NotNow) else getattr(self._of, name)


def _nothing(*_args: Any, **_options: Any) -> None:
    pass


class ChordJoin(BySentinel):
    """The part of the backend that joins a chord."""

    #: What may go better later, while the chord of a job is joined.
    _not_now: Errors = ()

    def temporary_errors(self) -> Errors:
        """What is no word on a task: the broker or the store is away, or a limit is reached."""
        return (OperationalError, OSError, StoreUnavailable, TryLater, *self.connection_errors)

    def longest_claim(self, body: Any) -> int:
        """For how long a process may claim a chord with this body, in seconds: its join, and then all tries to send the body."""
        return int(self._chord_publish_claim_expires(max(5, int((self.app.conf.result_chord_join_timeout or 5.0) * 2)), body))

    def join_chord_of_job(self, request: Any, state: str, result: Any, **options: Any) -> None:
        """As `on_chord_part_return`.

        :raises Exception: one of `temporary_errors`; the chord is as it was, but for Celery's claim, which ends by itself.
        """
        # Made now if they are not yet: they keep the client that they are made with.
        _ = self._chord_part_return_script, self._chord_claim_extend_script, self._chord_cleanup_script
        own, self._not_now = self.client, self.temporary_errors()
        self.__dict__["client"] = _Careful(own)
        try:
            super().on_chord_part_return(request, state, result, **options)
        except NotNow as error:
            raise error.__cause__ or error from None
        finally:
            self.__dict__["client"], self._not_now = own, ()

    def chord_error_from_stack(self, callback: Any, exc: Any = None) -> Any:
        """The chord failed, unless what Celery has just caught may go better later, or says that the body was sent before."""
        caught = sys.exc_info()[1]
        if caught is not None and isinstance(caught, self._not_now):
            raise NotNow from caught
        if self._not_now and isinstance(caught, IdTaken):
            return None
        return super().chord_error_from_stack(callback, exc)
