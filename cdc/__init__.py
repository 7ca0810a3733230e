"""flagent-cdc: every committed change of feature flags in PostgreSQL, as typed events."""
