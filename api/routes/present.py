"""The flags as this server holds them now, for every response that is made from them.

A server that has not read its source yet holds none, which does not mean that there are none: a client that polls would
switch everything off. One that has lost its source answers with what it has read last, and marks the response.
"""

from fastapi import Request

from cdc.core.flags.catalog import Catalog
from cdc.node.pipeline import Pipeline

from ..http.staleness import mark_stale
from ..streams.gateway import not_ready

__all__ = ["present_catalog"]


def present_catalog(request: Request) -> Catalog:
    """The present catalog; raises `Problem` (503, `not_ready`) until it has been read for the first time."""
    pipeline: Pipeline = request.app.state.pipeline
    if not pipeline.is_loaded:
        raise not_ready()
    freshness = pipeline.freshness()
    if not freshness.fresh:
        mark_stale(request.scope, freshness.age_ms)
    return pipeline.hub.catalog
