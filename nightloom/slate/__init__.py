"""The engine of the slate rules, and in rules/ a file per kind of rule. The engine knows effects on lists, no stage.

settings.py: [slate] of nightloom.toml. compile.py: rules and a night's items -> a Plan. apply.py: a Plan and a model's
scores -> lists. checks.py: the SQL of gate 3.
"""
