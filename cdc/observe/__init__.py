"""Observability: metrics, traces, status, the application log."""
