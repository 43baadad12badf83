"""`celery -A celery_app jobs ...`: keys, jobs, schedules and the audit log for those who have the installation's environment.

Who may run it has the store's address, so it asks for no key; what it changes is in the audit log under the user's name.
"""

from __future__ import annotations

import click

from pipeline_jobs.cli.access_commands import key, show_audit
from pipeline_jobs.cli.backup_commands import backup, restore
from pipeline_jobs.cli.batch_commands import batch
from pipeline_jobs.cli.bulk_commands import delete_jobs, retry_job
from pipeline_jobs.cli.explain_command import explain
from pipeline_jobs.cli.history_commands import history
from pipeline_jobs.cli.job_commands import cancel_jobs, list_jobs, pipeline, show, signal_job, submit_job
from pipeline_jobs.cli.limit_command import limits
from pipeline_jobs.cli.log_commands import show_events, show_logs
from pipeline_jobs.cli.operator_commands import config, doctor, drain, watch_job, workers
from pipeline_jobs.cli.schedule_commands import schedules
from pipeline_jobs.cli.top_command import top
from pipeline_jobs.cli.webhook_commands import deliveries, redeliver
from pipeline_jobs.cli.workflow_commands import workflow


@click.group()
def jobs() -> None:
    """Jobs, schedules, API keys and the audit log of this installation."""


for command in (
    show, show_logs, show_events, list_jobs, submit_job, signal_job, cancel_jobs, retry_job, delete_jobs, batch, workflow, show_audit,
    schedules, deliveries, redeliver, pipeline, key, history, doctor, workers, top, explain, limits,
    watch_job, drain, config, backup, restore,
):  # fmt: skip
    jobs.add_command(command)
# Its name of before, for scripts: no list shows it.
jobs.add_command(click.Command("why", callback=explain.callback, params=explain.params, help=explain.help, hidden=True))
