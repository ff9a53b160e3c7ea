"""A landing file's bytes -> its records: unpacking, decoding, and a reader for each format."""
