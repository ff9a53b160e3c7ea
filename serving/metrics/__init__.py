"""GET /metrics: requests, lists, events, the served version, the store, and the stages of the nights, for Prometheus.

Counts of all workers of a server are added up, so any worker may answer a scrape. Stages are read from the run records,
so a batch job pushes nothing anywhere.
"""
