"""Settings: what can be set, and the formats of values."""
