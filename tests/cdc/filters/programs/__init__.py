"""Random rows and filters, whose answers are compared with PostgreSQL's."""
