"""The embedded PostgreSQL: its programs, and a server of them."""
