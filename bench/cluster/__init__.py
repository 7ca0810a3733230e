"""What the NATS tier adds, what it spares PostgreSQL, and how large either grows.

`python -m bench.cluster --output results.json` measures: commit to receipt directly and through the tier in one run,
and what 1, 10 and 50 nodes cost PostgreSQL when they listen to it and when a relay does. `python -m bench.cluster.page
results.json docs/scale.md` writes the figures, the chart and the capacity model into the page.
"""
