"""dramatiq: the actor, with stored results, and its sending side. BENCH_BROKER is the URL."""

import os
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from talk import FIELDS, serve, timed

broker = RedisBroker(url=os.environ["BENCH_BROKER"])
broker.add_middleware(Results(backend=RedisBackend(url=os.environ.get("BENCH_RESULTS", os.environ["BENCH_BROKER"]))))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def run(**fields):
    return {"at": time.time()}


def enqueue(n):
    return timed(n, lambda: run.send(**FIELDS))


if __name__ == "__main__":
    serve(enqueue=enqueue)
