"""What touches psycopg and decides no policy: connections, the read session, named queries, driver errors, lock retry."""
