"""silver.items: no category is missing its name."""

CONDITIONS = {"categories_have_names": "array_position(t.categories, NULL) IS NULL"}
