"""The engine of the slate rules. It knows effects on lists; each kind of rule is a file of `rules`. Knows no stage.

settings.py: [slate] of nightloom.toml. compile.py: rules and a night's items -> a Plan. apply.py: a Plan and a model's
scores -> lists. checks.py: the SQL of gate 3.
"""
