"""All that touches psycopg and is nobody's policy: connections, named queries, driver errors, lock retries."""
