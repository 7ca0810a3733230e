"""The tables of schema `flagent_cdc` as append-only Alembic revisions.

Functions and triggers are not here: they stand in `sql/objects`, and `cdc.install` re-creates what changed.
"""
