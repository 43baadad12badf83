"""The limit: what the server itself takes, by redis-py, one message of 1,150 bytes after another. BENCH_BROKER is the URL."""

import os

import redis
from talk import serve, timed

client = redis.Redis.from_url(os.environ["BENCH_BROKER"])
MESSAGE = "x" * 1150


def enqueue(n):
    return timed(n, lambda: client.lpush("limit", MESSAGE))


def enqueue_many(n, size):
    def batch():
        with client.pipeline(transaction=False) as pipe:
            for _ in range(size):
                pipe.lpush("limit", MESSAGE)
            pipe.execute()

    return timed(n // size, batch)


if __name__ == "__main__":
    serve(enqueue=enqueue, enqueue_many=enqueue_many)
