"""Airflow on one machine, or one elsewhere: what `nightloom night`, `backfill`, `demo` and `airflow` need."""
