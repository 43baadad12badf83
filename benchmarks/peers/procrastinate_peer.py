"""procrastinate: the task, its deferring side, and (`python procrastinate_peer.py worker`) two worker processes of one job each.

BENCH_POSTGRES is the connection's text. Job rows are kept when they end, as procrastinate does by default.
"""

import os
import subprocess
import sys
import time

from procrastinate import App, SyncPsycopgConnector
from procrastinate.psycopg_connector import PsycopgConnector
from talk import FIELDS, serve, timed

WORKER = "worker" in sys.argv
# The worker is asynchronous, the deferring side is not: as its manual has it.
app = App(connector=(PsycopgConnector if WORKER else SyncPsycopgConnector)(conninfo=os.environ["BENCH_POSTGRES"]))


@app.task(name="run")
async def run(**fields):
    return {"at": time.time()}


def enqueue(n):
    return timed(n, lambda: app.configure_task("run").defer(**FIELDS))


def ended():
    return app.connector.execute_query_one("SELECT count(*) AS n FROM procrastinate_jobs WHERE status = 'succeeded'")["n"]


def flush():
    app.connector.execute_query("TRUNCATE procrastinate_jobs, procrastinate_events CASCADE")
    return 0


def work():
    """One process starts the other and ends with it: they share a process group."""
    second = None if "second" in sys.argv else subprocess.Popen([*sys.orig_argv, "second"])
    try:
        app.run_worker(concurrency=1, wait=True, delete_jobs="never")
    finally:
        if second:
            second.wait()


if __name__ == "__main__":
    if WORKER:
        work()
    else:
        app.open()
        if not app.connector.execute_query_one("SELECT to_regclass('procrastinate_jobs') IS NOT NULL AS there")["there"]:
            app.schema_manager.apply_schema()
        serve(enqueue=enqueue, ended=ended, flush=flush)
