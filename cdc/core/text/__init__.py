"""Text formats without I/O: exact JSON, JSON text, shell text."""
