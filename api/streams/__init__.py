"""Event streams: SSE and WebSocket, from the request to the connection."""
