"""One script per claim of speed or quality: peers and ours in one run."""
