"""Evaluation of flags against the catalog, with Java's regular expressions."""
