"""One file per output table; each is a command, `python -m spark_jobs.TABLE --date D`. Stages meet at tables only."""
