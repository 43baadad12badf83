"""`python -m pipeline_jobs.up [--once]`: everything on one machine."""

try:
    from pipeline_jobs.up.main import main
except ModuleNotFoundError as error:
    raise SystemExit(f"{error.name} is not installed: pip install 'pipeline-jobs[media,local]'") from None

if __name__ == "__main__":
    raise SystemExit(main())
