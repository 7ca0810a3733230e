"""Filters of the rows of watched tables: expressions, compiled to matchers that compare as PostgreSQL does."""
