"""Bar 3 of issue 13, in its long form: a thousand jobs with a result of 600 kB are erased and leave no key and no file that names them."""

from __future__ import annotations

from pipeline_jobs.worker.app import JobsCelery
from tests.integration.test_results import app as app
from tests.integration.test_results import erased_without_a_trace


def test_a_thousand_jobs_with_large_results_that_are_erased_leave_nothing_that_names_them(app: JobsCelery) -> None:
    erased_without_a_trace(app, 1_000)
