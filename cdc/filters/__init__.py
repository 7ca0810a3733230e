"""The text of filters: parsed by sqlglot, and compiled for the tables that are watched now."""
