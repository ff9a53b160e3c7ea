"""Serving stores: `versions` keeps the push records and the pointer, one file per kind of store does the rest."""
