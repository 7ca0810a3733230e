"""What operators see: metrics, traces, status, the application log."""
