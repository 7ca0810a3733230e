"""Filters of rows without I/O."""
