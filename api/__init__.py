"""The HTTP and WebSocket surfaces; everything they serve comes from `cdc`."""
