"""Events from web and apps: checked by their source's contract, durable before the answer, for the next night."""
