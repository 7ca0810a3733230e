"""Subscriptions without I/O: what is selected, who may see it, who matches."""
