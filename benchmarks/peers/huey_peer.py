"""huey: the task and its enqueuing side. BENCH_BROKER is the URL."""

import os
import time

from huey import RedisHuey
from talk import FIELDS, serve, timed

huey = RedisHuey("peer", url=os.environ["BENCH_BROKER"])


@huey.task()
def run(**fields):
    return {"at": time.time()}


def enqueue(n):
    return timed(n, lambda: run(**FIELDS))


if __name__ == "__main__":
    # By its own name, so that the messages name a task that the consumer has too.
    import huey_peer

    serve(enqueue=huey_peer.enqueue)
