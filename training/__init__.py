"""Training: silver.interactions at one pinned version -> models in MLflow, and gate 2 that promotes the best."""
