"""Around psycopg, without policy: connections, the read session, named queries, driver errors, lock retry."""
