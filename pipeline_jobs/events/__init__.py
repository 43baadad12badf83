"""Events of jobs: the log, and who follows it."""
