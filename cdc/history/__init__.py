"""The past: replay, time travel, the history of a flag."""
