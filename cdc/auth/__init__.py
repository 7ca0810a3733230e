"""Authentication: API keys, JSON Web Tokens and stream tokens become an identity with a grant."""
