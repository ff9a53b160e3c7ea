"""Who may ask what: keys, their limits, the console's sessions, and the addresses that answer."""
