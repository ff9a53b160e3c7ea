"""Live lists: a user with events since the night is scored again when they ask, as the next night will score them."""
