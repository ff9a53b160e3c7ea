"""Unusable records: list, show, replay, discard."""
