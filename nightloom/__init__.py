"""Contracts, lake, settings, command line and the exact top-K. Imports no stage, no Spark, no torch."""

__version__ = "0.1.0"
