"""The local stack: `python -m pipeline_jobs.up` starts every part on this machine, runs one sample job, and serves until Ctrl-C.

`main` is the order of events, `stack` the commands and their environment, `processes` starts and stops them, `readiness`
asks whether each answers, `sample` runs the job, `display` shows it, `exporter` is the optional Prometheus exporter.
"""
