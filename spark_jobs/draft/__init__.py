"""`nightloom init` and `nightloom check`: samples of files -> a draft of nightloom.toml, and its preview."""
