"""PostgreSQL as a source: the listener, and the readers of the change log."""
