"""Which queues a message goes to."""

from __future__ import annotations

import pytest

from pipeline_jobs.settings import Settings
from pipeline_jobs.worker.app import create_celery


@pytest.mark.parametrize("name", ["jobs", "maintenance", "stages"])
def test_what_is_sent_by_exchange_and_key_is_in_one_queue(cell: Settings, name: str) -> None:
    # With names of its own: what an earlier test left waiting for `jobs` would take the message.
    app = create_celery(cell.model_copy(update={"key_prefix": "apart:"}))
    queues = [app.amqp.queues[each] for each in ("jobs", "maintenance", "stages")]
    with app.connection_for_write() as connection:
        for queue in queues:
            queue(connection.default_channel).declare()
        with app.amqp.Producer(connection) as producer:
            producer.publish({}, exchange=name, routing_key=name)
        came = [queue.name for queue in queues if queue(connection.default_channel).get(no_ack=True)]
    app.close()
    assert came == [name]
