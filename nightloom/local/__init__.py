"""Airflow on one machine: what `nightloom night`, `backfill`, `demo` and `airflow` need."""
