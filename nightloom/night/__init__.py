"""The night: the list of its stages, the context in which a stage runs, and the records of runs and gates."""
