"""Flags without I/O: the catalog that commits are applied to, and the events that come of it."""
