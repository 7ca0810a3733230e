"""The text of filters."""
