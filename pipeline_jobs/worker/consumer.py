"""Celery's consumer with seven fixes: a message that outlived its connection is not acknowledged, none ends the worker, a poll that is not
answered does not keep the worker from its end, a broker that was away is found again soon, a connection that breaks while the worker greets
the others is made again, so is one that finds its queue of commands held by the one before, and job workers do not wait for each other.

Written against Celery 5.7.0 and kombu 5.7.0: look again at every bump (docs/decisions/0008-an-acknowledgement-after-the-end.md).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from queue import Empty
from typing import Any

from amqp.exceptions import NotFound, ResourceLocked
from celery.utils.log import get_logger
from celery.utils.saferepr import saferepr
from celery.utils.threads import bound_open_broker_sockets
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.worker import SHUTDOWN_SOCKET_TIMEOUT
from kombu.exceptions import OperationalError
from kombu.transport import redis as redis_transport
from kombu.transport import virtual
from kombu.transport.redis import Channel as RedisChannel

from pipeline_jobs.worker.hints import takes_jobs

logger = get_logger(__name__)

#: How long a worker waits before it looks for its broker again, in seconds.
RETRY = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": 5.0}
#: Most characters of a message that is dropped in the log: it may be hostile, and it may have secrets.
LOGGED = 200


class JobConsumer(Consumer):
    """`worker_consumer`, for workers of every queue."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Mingle asks the other workers for a second what they revoked, at the start and each time the broker is back: a second in which no
        # message is taken. A cancel of a job is in the store.
        if takes_jobs(kwargs["app"]):
            kwargs["without_mingle"] = True
        super().__init__(*args, **kwargs)
        # A broken connection has the first name where kombu finds it as it sends: mingle does, and the worker would end. And nodes of
        # RabbitMQ may not know yet that the connection of before is gone, whose own the queue of commands is: they refuse it, or take it
        # away as this connection has just declared it. A queue whose node is away is not found either.
        self.connection_errors = (*self.conninfo.connection_errors, OperationalError, ResourceLocked, NotFound)
        if hasattr(self.controller, "_process_task"):
            self.controller._process_task = partial(_process, self.controller, self.controller._process_task)

    def connection_for_read(self, heartbeat: Any = None) -> Any:
        """A connection whose channels drop what is no message. It is said to the transport before it makes its first channel."""
        connection = self.app.connection_for_read(heartbeat=heartbeat)
        transport = connection.transport
        if isinstance(transport, virtual.Transport) and issubclass(transport.Channel, RedisChannel):
            transport.Channel = _careful(transport.Channel)
        return self.ensure_connected(connection)

    def ensure_connected(self, conn: Any) -> Any:
        """Wait for the broker. One that comes back finds its workers within a second or two, and within five after a long time: kombu alone
        waits 2 s longer each time, up to 30, in which jobs wait beside free slots."""
        conn.ensure_connection = partial(conn.ensure_connection, **RETRY)
        return super().ensure_connected(conn)

    def shutdown(self) -> None:
        """Close the channels. Each reads the answer of its BRPOP, which comes within a second; but if the server's clock was set back
        meanwhile, it comes when the clock is where it was. Celery limits this wait only where a worker is told to end at once."""
        bound_open_broker_sockets(self.connection, SHUTDOWN_SOCKET_TIMEOUT)
        super().shutdown()

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """What is done with a message. One that Celery cannot make a request of (a list for its task's name, a number for its id) is an
        error of any kind there, for which the worker would end."""
        handle, lost = super().create_task_handler(*args, **kwargs), self.connection_errors + self.channel_errors

        def careful(message: Any) -> Any:
            try:
                _check(message.headers)
                return handle(message)
            except lost:
                raise
            except Exception as error:  # what a message may do wrong has no end
                _say_dropped(error, getattr(message, "headers", None))
                self.call_soon_ack(message.reject_log_error, logger, lost)
                return None

        return careful

    def call_soon_ack(self, p: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Acknowledge or reject a message in the event loop's next round. By then its channel may be closed."""
        return super().call_soon_ack(_unless_closed, p, *args, **kwargs)


def _process(controller: Any, process: Callable[[Any], Any], request: Any) -> None:
    """Hand a request to the pool. One that cannot be handed over (its stamps are no list) gives its place in the pool back."""
    try:
        process(request)
    except OSError:
        raise
    except Exception as error:  # what a message may do wrong has no end
        _say_dropped(error, request.request_dict)
        state.task_ready(request)
        request.reject(requeue=False)
        # Set where a pool has places: without it no task would ever start again.
        getattr(controller, "_quick_release", int)()


def _check(headers: Any) -> None:
    """What Celery looks at when the request has its place in the pool already: an error there costs the place, or ends the worker.

    :raises TypeError: it is not what Celery writes.
    """
    if not isinstance(headers, dict) or "task" not in headers:
        # An older protocol, or none: Celery decides.
        return
    limits = headers.get("timelimit") or (None, None)
    if not isinstance(limits, list | tuple) or len(limits) != 2 or not all(one is None or type(one) in (int, float) for one in limits):
        raise TypeError("timelimit is no pair of seconds")
    if not all(isinstance(headers.get(name, ""), str) for name in ("task", "id")):
        raise TypeError("task or id is no text")
    for name in ("shadow", "root_id", "parent_id", "group", "argsrepr", "kwargsrepr", "origin"):
        if not isinstance(headers.get(name), str | None):
            raise TypeError(f"{name} is no text")


def _careful(channel: type[RedisChannel]) -> Any:
    """A channel that drops what is no message: not JSON, without its parts, or too deep."""

    class CarefulChannel(channel):
        def _brpop_read(self, **options: Any) -> Any:
            return self._unless_nonsense(super()._brpop_read, **options)

        def _receive_one(self, client: Any) -> Any:
            return self._unless_nonsense(super()._receive_one, client)

        def _unless_nonsense(self, read: Callable[..., Any], *args: Any, **options: Any) -> Any:
            try:
                return read(*args, **options)
            except redis_transport.redis.DataError as error:
                # A tag that no command can have. What the server itself refuses is another error, and not the message's fault.
                reason: Exception = error
            except (Empty, *self.connection_errors, *self.connection.channel_errors):
                raise
            except Exception as error:  # JSON has its errors, kombu's own types have any
                reason = error
            _say_dropped(reason)
            # As if there had been none: the event loop asks for the next one.
            raise Empty

    return CarefulChannel


def _say_dropped(error: Exception, headers: Any = None) -> None:
    logger.error("message dropped, it is none that a worker can read: %s, headers %s", saferepr(error, LOGGED), saferepr(headers, LOGGED))


def _unless_closed(answer: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """As a channel is closed, kombu delivers what lies in its socket. What Celery answers to that comes in the loop of the next connection.

    A queue that is acknowledged has the message again by then, and gives it anew; to any other there is nothing to say.
    """
    message = answer.__self__  # type: ignore[attr-defined]
    if message.channel.connection is None:
        logger.warning("message %s arrived while its connection was closing and is not acknowledged", message.delivery_tag)
        return
    answer(*args, **kwargs)
