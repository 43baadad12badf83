"""taskiq: the task with stored results, its broker on Redis streams (acknowledged, as its manual advises), and its sending side.

BENCH_BROKER and BENCH_RESULTS are URLs.
"""

import asyncio
import os
import time

from talk import FIELDS, serve
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

broker = RedisStreamBroker(url=os.environ["BENCH_BROKER"]).with_result_backend(
    RedisAsyncResultBackend(redis_url=os.environ["BENCH_RESULTS"])
)


@broker.task(task_name="taskiq_peer.run")
async def run(**fields):
    return {"at": time.time()}


async def _enqueue(n):
    start = time.perf_counter()
    for _ in range(n):
        await run.kiq(**FIELDS)
    return time.perf_counter() - start


if __name__ == "__main__":
    # One loop for all calls: a connection belongs to the loop that opened it.
    loop = asyncio.new_event_loop()
    loop.run_until_complete(broker.startup())
    serve(enqueue=lambda n: loop.run_until_complete(_enqueue(n)))
