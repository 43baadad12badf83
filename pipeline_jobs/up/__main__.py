"""`python -m pipeline_jobs.up [--once]`"""

from pipeline_jobs.up.main import main

raise SystemExit(main())
