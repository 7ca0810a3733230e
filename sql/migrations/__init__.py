"""The tables of schema `flagent_cdc` as append-only Alembic revisions.

Functions and triggers are not here: they are in `sql/objects`, and `cdc.admin.installation` creates again
what changed.
"""
