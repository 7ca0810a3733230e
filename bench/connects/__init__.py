"""`python -m bench.connects`: what a new stream costs the server, from accept to its first bytes."""
