"""The HTTP and WebSocket endpoints; everything they serve comes from `cdc`."""
