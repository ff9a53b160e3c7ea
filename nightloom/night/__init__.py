"""The night: a stage's run, the gates' checks, and what ops.stages and ops.gates hold of them."""
