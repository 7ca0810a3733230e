"""The change log without I/O: positions, changes, commits, lanes, points in time."""
