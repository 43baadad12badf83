"""rq: enqueue, enqueue_many, and the function its workers run. BENCH_BROKER is the URL."""

import os
import time

from redis import Redis
from rq import Queue
from talk import FIELDS, serve, timed

queue = Queue(connection=Redis.from_url(os.environ["BENCH_BROKER"]))


def run(**fields):
    return {"at": time.time()}


def enqueue(n):
    return timed(n, lambda: queue.enqueue("rq_peer.run", kwargs=FIELDS))


def enqueue_many(n, size):
    return timed(n // size, lambda: queue.enqueue_many([Queue.prepare_data("rq_peer.run", kwargs=FIELDS) for _ in range(size)]))


if __name__ == "__main__":
    serve(enqueue=enqueue, enqueue_many=enqueue_many)
