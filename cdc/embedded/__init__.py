"""The embedded PostgreSQL: its programs, and a server that runs them."""
