"""What the owner does to the database: install, upgrade, watch tables, create API keys."""
