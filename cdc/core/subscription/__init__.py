"""Subscriptions without I/O: selections, grants, matching, the ring of recent events, and how a stream resumes."""
