"""Records that could not be used: list, show, replay, discard."""
