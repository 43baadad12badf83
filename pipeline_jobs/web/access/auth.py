"""Before each request: authenticates its key and checks its permissions.

Until a key was made the API serves this machine only, and asks nobody. From then on, or with PIPELINE_REQUIRE_KEYS=1, every route
asks for a key as `policy` says. See `docs/security.md`.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from wsgiref.types import WSGIEnvironment

import structlog
from flask import Flask
from structlog.contextvars import bind_contextvars

from pipeline_jobs.access.api_keys import ApiKey, KeyStore, Role
from pipeline_jobs.events.tokens import StreamTokens
from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.settings import Settings
from pipeline_jobs.web.access import origin, policy
from pipeline_jobs.web.access.caller import ANYBODY, Caller, set_caller
from pipeline_jobs.web.access.key_cache import CACHE_SECONDS, KeyRing
from pipeline_jobs.web.access.policy import POLICIES, Policy
from pipeline_jobs.web.access.sessions import COOKIE, Sessions
from pipeline_jobs.web.access.throttle import Failures
from pipeline_jobs.web.asked import asked
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.server.slow import belongs_to

#: The blueprint whose routes take a session for a key.
PAGE = "ui"

_BEARER = re.compile(r"bearer +(\S.*)", re.IGNORECASE)
#: A proxy on this machine speaks for others: what it forwards does not come from here.
_FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA")

#: How many unknown keys from addresses with too many failures are looked up at once, and how long one waits for its turn, in seconds.
GUESSES, GUESS_SECONDS = 2, 2.0

logger = structlog.get_logger("pipeline_jobs.web")


class Access:
    """Tells callers apart."""

    def __init__(
        self, keys: KeyStore, settings: Settings, tokens: StreamTokens, secret: Callable[[], str], share: Callable[[int], int]
    ) -> None:
        """:param secret: gives the key that signs the page's sessions. :param share: this process's part of what an address may fail."""
        self._keys, self._tokens = keys, tokens
        self._ring, self._failures = KeyRing(keys), Failures(share=share)
        self._guesses = threading.Semaphore(GUESSES)
        self.sessions = Sessions(keys, self._ring, secret, settings.ui_session_seconds)
        self._always = settings.require_keys
        # Without the queue nothing needs a store, so none is asked.
        self._has_store = settings.enable_job_queue
        #: Until when "no key was made yet" holds. A key that was made once never counts as unmade.
        self._open_until = 0.0
        self._made = False
        self._said: bool | None = None

    def required(self) -> bool:
        """Keys are asked for.

        :raises StoreUnavailable: that must be looked up and cannot be.
        """
        if self._always or self._made:
            return self._say(True)
        if not self._has_store or time.monotonic() < self._open_until:
            return self._say(False)
        until = time.monotonic() + CACHE_SECONDS
        if self._keys.required():
            self._made = True
        self._open_until = until
        return self._say(self._made)

    def caller(self, environ: WSGIEnvironment, needs: Policy, session: str | None = None) -> Caller:
        """Who sent a request.

        :param session: the page's cookie; None elsewhere, for the API knows keys only.
        :raises Refused: 401 one answer for a missing, unknown, expired and revoked key; 403 nobody has a key yet and the request
            comes from elsewhere; 429 too many wrong keys.
        :raises StoreUnavailable: the key must be looked up and cannot be.
        """
        if not self._always and (needs.here or not self._has_store) and self._is_here(environ):
            # Readiness is asked for when the store is down too.
            return ANYBODY
        text = _bearer(environ)
        key = None
        if text is not None:
            key = self._find(environ, text)
        elif session:
            key = self.sessions.key(session)
        if key is not None:
            bind_contextvars(key_id=key.key_id)
            return Caller.of(key)
        here = self._is_here(environ)
        if here and not self.required():
            return ANYBODY
        if text is not None:
            self._failed(environ)
        if not here and not self.required():
            raise Refused(
                403,
                "loopback_only",
                "no API key has been created, so this API serves its own machine only; create one there: celery -A celery_app "
                "jobs key create --all-tenants --role admin",
            )
        raise _unauthorized()

    def token_caller(self, text: str) -> Caller | None:
        """Who shows this token of a stream; None: no key was needed when it was made, so the request must stand for itself.

        :raises Refused: 401 the token, or the key behind it, is not good.
        :raises StoreUnavailable: the key must be looked up and cannot be.
        """
        token = self._tokens.read(text)
        if token is None:
            raise _unauthorized()
        if not token.key_id:
            return None
        key = self._ring.by_id(token.key_id)
        if key is None:
            raise _unauthorized()
        bind_contextvars(key_id=key.key_id)
        return replace(Caller.of(key), role=Role.READ, scope=token.scope)

    def still_good(self, who: Caller) -> bool:
        """Whoever was let in before would be now. :raises StoreUnavailable: that must be looked up and cannot be."""
        if who.key_id is None:
            return not self.required()
        return self._ring.by_id(who.key_id) is not None

    def sign_in(self, environ: WSGIEnvironment, text: str) -> ApiKey | None:
        """The good key with this text, given in a form; None: there is none, which counts as a wrong key.

        :raises Refused: 429 too many wrong keys.
        :raises StoreUnavailable: the key must be looked up and cannot be.
        """
        key = self._find(environ, text)
        if key is None:
            self._failed(environ)
        return key

    def is_open(self, environ: WSGIEnvironment) -> bool:
        """This request needs no key: it comes from this machine, and none has been made."""
        return self._is_here(environ) and not self.required()

    def _find(self, environ: WSGIEnvironment, text: str) -> ApiKey | None:
        wait = self._failures.wait(_address(environ))
        if not wait or self._ring.has_seen(text):
            return self._ring.find(text)
        # Whoever shares a guesser's address and has a good key goes on, seen before or not. The store is shown a few guesses at a time.
        if not self._guesses.acquire(timeout=GUESS_SECONDS):
            raise StoreUnavailable("too many keys are being looked up")
        try:
            key = self._ring.find(text)
        finally:
            self._guesses.release()
        if key is None:
            raise Refused(429, "too_many_failures", "too many wrong keys from this address", headers={"Retry-After": str(wait)})
        return key

    def _failed(self, environ: WSGIEnvironment) -> None:
        if self._failures.add(_address(environ)):
            logger.warning("too_many_wrong_keys", address=_address(environ))

    def _is_here(self, environ: WSGIEnvironment) -> bool:
        """The other end is on this machine, and neither a proxy nor a page of a rebound name: it asks for a host of loopback."""
        host = environ.get("HTTP_HOST")
        return (
            origin.is_loopback(environ.get("REMOTE_ADDR", ""))
            and not any(name in environ for name in _FORWARDED)
            and (host is None or origin.name_of(host) in origin.LOOPBACK_NAMES)
        )

    def _say(self, required: bool) -> bool:
        if required is not self._said:
            self._said = required
            if required:
                logger.info("api_keys_are_required")
            else:
                logger.warning("no_api_key_so_loopback_only", hint="celery -A celery_app jobs key create")
        return required


def install(app: Flask, access: Access) -> None:
    """Ask before every request, after `origin`."""

    def admit() -> None:
        request = asked()
        endpoint, environ = request.endpoint, request.environ
        if endpoint is None:
            # There is no such route or method: the contract is public anyway.
            return
        needs = POLICIES.get(endpoint)
        if needs is None:
            logger.error("route_without_policy", endpoint=endpoint)
            raise Refused(403, "forbidden", "no key gives access to this endpoint")
        if needs is Policy.PUBLIC:
            return
        token = request.args.get("token") if endpoint in policy.STREAMS else None
        session = request.cookies.get(COOKIE) if request.blueprint == PAGE else None
        who = (token is not None and access.token_caller(token)) or access.caller(environ, needs, session)
        if who.key_id is not None:
            belongs_to(environ, f"key {who.key_id}" if who.sees_all else f"tenant {who.tenant_id}")
        if request.method != "OPTIONS":
            policy.check(needs, who, request.view_args or {})
        set_caller(who)

    app.before_request(admit)


def _address(environ: WSGIEnvironment) -> str:
    return str(environ.get("REMOTE_ADDR", ""))


def _unauthorized() -> Refused:
    return Refused(
        401,
        "unauthorized",
        "a valid API key is required: Authorization: Bearer pjk_...",
        headers={"WWW-Authenticate": 'Bearer realm="pipeline-jobs"'},
    )


def _bearer(environ: WSGIEnvironment) -> str | None:
    """What the request shows as a key. Other schemes are a proxy's business, not ours."""
    found = _BEARER.fullmatch(environ.get("HTTP_AUTHORIZATION", ""))
    return found[1].rstrip() if found else None
