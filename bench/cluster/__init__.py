"""The latency and the cost of the NATS tier, and the capacity of a deployment with and without it.

`python -m bench.cluster --output results.json` measures the latency from commit to receipt, directly and through the
tier in one run, and what 1, 10 and 50 nodes cost PostgreSQL when each listens to it and when only a relay does.
`python -m bench.cluster.page results.json docs/scale.md` writes the figures, the chart and the capacity model into the
page.
"""
