"""The SDKs in numbers, one program per language; each prints the same figures as JSON."""
