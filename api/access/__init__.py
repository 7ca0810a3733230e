"""Access to the API: credentials, their expiry, CORS."""
