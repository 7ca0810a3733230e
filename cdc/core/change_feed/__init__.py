"""The change feed without I/O: cursors, logged changes, pages, row schemas."""
