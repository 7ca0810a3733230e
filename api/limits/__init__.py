"""Limits on clients: connections, handshakes, requests, addresses."""
