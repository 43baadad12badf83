"""Celery's names on an AMQP broker with the prefix of the installation, as kombu's `global_keyprefix` does it on Redis.

In Celery and on its command line a queue is called `jobs` in every installation; on the broker it is `east:jobs`. So whatever goes over a
connection of the app has the prefix: queues that a team's own code names, remote control and its replies, events, a queue of `-Q`.
The broker's own names (`amq.` and what begins so, and the default exchange) are left as they are.

Written against kombu 5.7.0 and amqp 5.3: look again at every bump.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import pyamqp

#: Option of the transport that has the prefix, as of kombu's Redis transport.
PREFIX_OPTION = "global_keyprefix"
#: What begins the names that the broker gives.
_BROKERS_OWN = "amq."


class PrefixedChannel(pyamqp.Channel):
    """Puts the prefix before each name that goes to the broker, and takes it from what a message is told to have come by."""

    def __init__(self, connection: Any, *args: Any, **options: Any) -> None:
        self._prefix = str((connection.client.transport_options or {}).get(PREFIX_OPTION, ""))
        super().__init__(connection, *args, **options)

    def exchange_declare(self, exchange: str, *args: Any, **options: Any) -> Any:
        return super().exchange_declare(self._named(exchange), *args, **options)

    def exchange_delete(self, exchange: str, *args: Any, **options: Any) -> Any:
        return super().exchange_delete(self._named(exchange), *args, **options)

    def exchange_bind(self, destination: str, source: str = "", *args: Any, **options: Any) -> Any:
        return super().exchange_bind(self._named(destination), self._named(source), *args, **options)

    def exchange_unbind(self, destination: str, source: str = "", *args: Any, **options: Any) -> Any:
        return super().exchange_unbind(self._named(destination), self._named(source), *args, **options)

    def queue_declare(self, queue: str = "", *args: Any, **options: Any) -> Any:
        return super().queue_declare(self._named(queue), *args, **options)

    def queue_bind(self, queue: str, exchange: str = "", *args: Any, **options: Any) -> Any:
        return super().queue_bind(self._named(queue), self._named(exchange), *args, **options)

    def queue_unbind(self, queue: str, exchange: str, *args: Any, **options: Any) -> Any:
        return super().queue_unbind(self._named(queue), self._named(exchange), *args, **options)

    def queue_delete(self, queue: str = "", *args: Any, **options: Any) -> Any:
        return super().queue_delete(self._named(queue), *args, **options)

    def queue_purge(self, queue: str = "", *args: Any, **options: Any) -> Any:
        return super().queue_purge(self._named(queue), *args, **options)

    def basic_consume(self, queue: str = "", *args: Any, **options: Any) -> Any:
        return super().basic_consume(self._named(queue), *args, **options)

    def basic_get(self, queue: str = "", *args: Any, **options: Any) -> Any:
        return super().basic_get(self._named(queue), *args, **options)

    def _basic_publish(self, msg: Any, exchange: str = "", routing_key: str = "", *args: Any, **options: Any) -> Any:
        # The default exchange takes the queue's name for the key; any other has keys of its own.
        key = routing_key if exchange else self._named(routing_key)
        return super()._basic_publish(msg, self._named(exchange), key, *args, **options)

    #: Without confirmation; with it amqp calls `_basic_publish` by itself.
    basic_publish = _basic_publish

    def _on_basic_deliver(self, tag: str, delivery: int, redelivered: bool, exchange: str, routing_key: str, msg: Any) -> None:
        super()._on_basic_deliver(tag, delivery, redelivered, *self._came_by(exchange, routing_key), msg)

    def _on_get_ok(self, delivery: int, redelivered: bool, exchange: str, routing_key: str, count: int, msg: Any) -> Any:
        return super()._on_get_ok(delivery, redelivered, *self._came_by(exchange, routing_key), count, msg)

    def _named(self, name: str) -> str:
        return name if not name or name.startswith(_BROKERS_OWN) else self._prefix + name

    def _came_by(self, exchange: str, routing_key: str) -> tuple[str, str]:
        """Celery sends a task that it retries by what its message came by."""
        key = routing_key if exchange else routing_key.removeprefix(self._prefix)
        return exchange.removeprefix(self._prefix), key


def install() -> None:
    """From here on each AMQP connection of this process has such channels. One without the option has an empty prefix: nothing changes.

    kombu's pools make connections by classes of their own, so no connection or transport of the app's would reach them.
    """
    pyamqp.Connection.Channel = PrefixedChannel
