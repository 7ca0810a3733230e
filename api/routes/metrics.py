"""The metrics of all workers, for Prometheus."""

import json
from collections.abc import Iterable

from fastapi import APIRouter, Request, Response

from cdc.evaluation.evaluator import Evaluator
from cdc.node.exposures import Exposures
from cdc.node.worker_peers import WorkerPeers
from cdc.observe.metrics import Connections, Sample, exposition, read_samples
from cdc.observe.status import StatusReader

from ..access.authentication import grant_of
from ..http.problem import Problem
from ..streams.gateway import Gateway

__all__ = ["Metrics", "router"]

router = APIRouter(tags=["health"])


class Metrics:
    """Collects the metrics of this worker and of its peers."""

    def __init__(
        self,
        status: StatusReader,
        gateway: Gateway,
        evaluator: Evaluator,
        peers: WorkerPeers,
        version: str,
        exposures: Exposures | None = None,
    ) -> None:
        self._exposures = exposures
        self._status = status
        self._gateway = gateway
        self._evaluator = evaluator
        self._peers = peers
        self._version = version

    async def own(self) -> list[Sample]:
        """The samples of this worker."""
        gateway = self._gateway
        limits = {"sse": gateway.sse_limit, "websocket": gateway.websocket_limit}
        connections = Connections(
            open={transport: limit.open_count for transport, limit in limits.items()},
            limit={transport: limit.limit for transport, limit in limits.items()},
            refused=gateway.refusals,
            waiting=gateway.handshake_rate.waiting,
            requests_refused=gateway.request_rate.refused,
        )
        status = await self._status.read()
        return list(
            read_samples(
                status,
                gateway.pipelines.pipelines,
                connections,
                self._evaluator.evaluations,
                self._version,
                is_ready=gateway.is_ready,
                exposures=self._exposures,
            )
        )

    async def own_as_text(self) -> bytes:
        """The samples of this worker, encoded for another worker."""
        return json.dumps(await self.own()).encode()

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        """The exposition of all workers and its content type, as the header Accept prefers it."""
        answers = await self._peers.ask()
        workers: dict[int, Iterable[Sample] | None] = {self._peers.place: await self.own()}
        for place, answer in answers.items():
            workers[place] = None if answer is None else json.loads(answer)
        return exposition(dict(sorted(workers.items())), accept)


_TEXT = {"schema": {"type": "string"}}


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": _TEXT, "application/openmetrics-text": _TEXT}}},
)
async def metrics(request: Request) -> Response:
    """Requires the right `admin` if authentication is enabled. Covers all workers."""
    if not grant_of(request).admin:
        raise Problem(
            403, "not_allowed", "this credential is not authorized for metrics; use one with the right `admin`"
        )
    read: Metrics = request.app.state.metrics
    body, content_type = await read.scrape(request.headers.get("accept", ""))
    return Response(body, headers={"content-type": content_type})
