"""`python -m bench.evaluation_http`: the cost of one evaluation over HTTP, beside a floor and beside Flagr."""
