"""The slate rules: settings, compilation, and their effect on lists. Knows no stage."""
