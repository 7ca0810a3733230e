"""The demo: example flags, and a writer that changes them."""
