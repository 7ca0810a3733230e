"""One node: pipelines from a source to a hub, and the other workers of the process group."""
