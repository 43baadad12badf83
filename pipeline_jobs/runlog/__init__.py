"""The log of a run: what its stages log and print (`docs/logs.md`). It knows no store: `jobs/log_keeper.py` writes it there."""
