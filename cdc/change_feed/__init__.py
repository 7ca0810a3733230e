"""The change feed and the backfill of watched tables: what data teams pull."""
