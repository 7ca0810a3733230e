"""Flags without I/O: the catalog to which commits are applied, and the events that result."""
