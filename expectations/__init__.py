"""A Great Expectations suite per table, gate 1, and the Data Docs. Reads tables and changes none."""

import os

# Before Great Expectations is imported anywhere: it asks its maker's server for permission to report usage otherwise.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
