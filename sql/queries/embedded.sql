-- The embedded database, whose tables no Flagent creates.

-- has_flags: whether a schema holds Flagent's table of flags
select to_regclass(quote_ident(%(schema)s) || '.flags') is not null as found;
