-- The embedded database, where Flagent itself never comes by to create its tables.

-- has_flags: whether a schema holds Flagent's table of flags
select to_regclass(quote_ident(%(schema)s) || '.flags') is not null as found;
