"""Jobs: in, listed, run, ended."""
