"""SQL for people: `nightloom sql` and `tables`, charts, and the marts."""
