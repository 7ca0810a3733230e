"""HTTP basics: problems, request bodies, query strings, content encoding, entity tags."""
