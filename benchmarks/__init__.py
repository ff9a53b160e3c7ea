"""One script per claim of speed or quality; each runs our code and the libraries to compare with."""
