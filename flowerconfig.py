"""Flower's configuration: `celery -A celery_app flower` reads it from the current folder.

Flower sees tasks, not jobs. A job's message carries its tenant, workspace and pipeline in the text that Celery shows for
the task's keyword arguments (nothing else of it: no URL, no parameters). They and the stage are columns here, and fields of the REST API.
What Flower has seen is kept in the data folder, so that a restart does not empty its table.

Who may look: whoever has the login. It is that of Flower's own settings (`FLOWER_BASIC_AUTH=name:password[,name:password]`, or
`FLOWER_AUTH` with an OAuth provider; see its manual), else the name `flower` with `PIPELINE_FLOWER_PASSWORD`, else with a password
that is drawn once and kept in the data folder. `/metrics` and `/healthcheck` stay open in Flower: close them at the proxy.
"""

import os
import sys

from tornado.options import options

from pipeline_jobs import logs
from pipeline_jobs.access.secret_files import FLOWER_PASSWORD, FLOWER_USER, kept_secret
from pipeline_jobs.operation import flower_columns
from pipeline_jobs.operation.flower_guard import guard
from pipeline_jobs.settings import load_settings
from pipeline_jobs.starting import one_line_errors

# Tornado adds lines of its own form only where there are none.
logs.take_over()

#: Flower's own defaults, in whose place ours come; what its environment or its command line says stays.
_OWN_DB, _OWN_MOST = "flower", 100_000

with one_line_errors():
    _settings = load_settings()
guard(_settings.flower_host_list)
flower_columns.install(_settings)

address = options.address or "127.0.0.1"
tasks_columns = f"name,uuid,state,{','.join(flower_columns.COLUMNS)},received,started,runtime,worker"

# Saved each minute and at the end, for its owner only. Saving stops Flower for a moment: 10,000 rows take 0.3 s.
persistent = True
state_save_interval = options.state_save_interval or 60_000
db = str(_settings.data_dir / "flower-state") if options.db == _OWN_DB else options.db
max_tasks = 10_000 if options.max_tasks == _OWN_MOST else options.max_tasks
_settings.data_dir.mkdir(parents=True, exist_ok=True)
os.umask(0o077)

# The environment and the command line were read before this file. An empty FLOWER_BASIC_AUTH is no login, and not one that nobody has.
if not (any(options.basic_auth or ()) or options.auth):
    _file = _settings.data_dir / FLOWER_PASSWORD
    basic_auth = [f"{FLOWER_USER}:{_settings.flower_password or kept_secret(_file)}"]
    _password = "PIPELINE_FLOWER_PASSWORD" if _settings.flower_password else f"the password in {_file}"
    sys.stderr.write(f"Flower: sign in as {FLOWER_USER} with {_password}\n")
