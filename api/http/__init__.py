"""HTTP without a surface: request bodies, problems, content encoding."""
