"""Set-up, done by ./run before anything else: standard library only (spark_archive.py aside, which runs in .venv)."""
