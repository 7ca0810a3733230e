"""`python -m bench.evaluation_http [--flagr PATH]`: processor time and latency of `POST /api/v1/evaluation`.

Every flag has two segments and three constraints, and the same random requests go over the same number of connections,
in turn, to

- this server, one worker, `serve` as it is installed;
- the floor, `bench.evaluation_http.floor`: a bare httptools protocol that parses the JSON and answers a constant;
- Flagr (github.com/openflagr/flagr), where `--flagr` names its program, with one processor for its own threads.

Besides, the same requests over one WebSocket, one at a time and 32 in flight, to this server and to the floor of that,
`bench.evaluation_http.websocket_floor`.

Each server has one core, the client another. CPU per request is the server's user and system time divided by the
requests; p50 and p99 are the client's. The answers of this server and of Flagr are compared with those of the core,
which `bench.evaluation` compares with a slow transcription of the rules: one wrong answer fails the run.
"""

import argparse
import json
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from bench.evaluation import flags_in_a_database, random_requests
from bench.evaluation_http.flagr import running_flagr
from bench.evaluation_http.load import Pass, run
from bench.evaluation_http.websocket import encode_message, results_of
from bench.evaluation_http.websocket import run as run_websocket
from bench.evaluation_wire import running_server
from bench.fanout.machine import describe
from bench.fanout.process import Cores, Process
from bench.port import free_port, wait_for_port
from cdc.core.evaluation import decode_json
from cdc.evaluation.evaluator import Evaluator

PATH = "/api/v1/evaluation"

# The fields by which answers are compared: the others are texts that differ between the servers.
_COMPARED = ("flagID", "flagKey", "segmentID", "variantID", "variantKey")

IN_FLIGHT = 32

_WEBSOCKET_TARGETS = (25_000, 60_000)
_FLOOR_TARGET, _FLAGR_TARGET, _P99_TARGET = 1.6, 0.75, 1.0


@dataclass(slots=True)
class Subject:
    """A server under test: its port, its process, and its rounds as (CPU µs per request, p50 ms, p99 ms)."""

    name: str
    port: int
    process: Process
    check: Callable[[Sequence[bytes]], Sequence[object]]
    rounds: list[tuple[float, float, float]] = field(default_factory=list)

    def medians(self) -> tuple[float, float, float]:
        cpu, p50, p99 = (statistics.median(column) for column in zip(*self.rounds, strict=True))
        return cpu, p50, p99


def encode_request(path: str, body: object, port: int, headers: str = "") -> bytes:
    """A request as Flagent's Go client writes it, without compression, which Flagr would use for such short answers."""
    content = json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: Go-http-client/1.1\r\n"
        f"Content-Length: {len(content)}\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
        f"{headers}\r\n"
    )
    return head.encode() + content


def compared(answer: Any) -> list[Any]:
    """What must be equal on every server. Flagr has no segment or variant where this server has null."""
    return [answer.get(name) or None for name in _COMPARED]


def wrong_answers(bodies: Sequence[bytes], expected: Sequence[list[Any]]) -> list[str]:
    """The answers that differ, each with what was expected."""
    found = []
    for body, wanted in zip(bodies, expected, strict=True):
        answer = json.loads(body)
        if compared(answer) != wanted and not _is_segment_alone(answer, wanted):
            found.append(f"{body.decode()} instead of {wanted}")
    return found


def _is_segment_alone(answer: Any, wanted: list[Any]) -> bool:
    """Whether only the segment of an answer without a variant differs: Flagr and Flagent name different ones there."""
    return wanted[3] is None and compared(answer)[3] is None and compared(answer)[:2] == wanted[:2]


def measure(subject: Subject, requests: Sequence[bytes], connections: int, *, in_parts: bool) -> Pass:
    before = subject.process.cpu_s()
    done = run(subject.port, requests, connections, in_parts=in_parts)
    cpu_us = (subject.process.cpu_s() - before) / len(requests) * 1e6
    if wrong := subject.check(done.bodies):
        raise SystemExit(f"{subject.name}: {len(wrong)} of {len(requests)} answers are wrong, the first: {wrong[0]}")
    subject.rounds.append((cpu_us, done.quantile_ms(0.5), done.quantile_ms(0.99)))
    return done


def running_floor(running: ExitStack, name: str, answer: bytes, core: int) -> tuple[int, Process]:
    """Start a floor of this package, with its answer."""
    port = free_port()
    floor = running.enter_context(Process([sys.executable, "-m", f"bench.evaluation_http.{name}", str(port)], core))
    assert floor.popen.stdin is not None
    floor.popen.stdin.write(answer)
    floor.popen.stdin.close()
    return port, floor


def measure_websocket(
    server: Process, port: int, frames: Sequence[bytes], expected: Sequence[list[Any]]
) -> list[float]:
    """Evaluations per second of the server's processor: one at a time, and with `IN_FLIGHT` in flight."""
    found = []
    for in_flight in (1, IN_FLIGHT):
        before = server.cpu_s()
        received = run_websocket(port, frames, in_flight)
        found.append(len(frames) / (server.cpu_s() - before))
        if expected and [compared(result) for result in results_of(received)] != expected:
            raise SystemExit("wrong answers over the WebSocket")
    return found


def report(subjects: Sequence[Subject], requests: int) -> bool:
    """Print a table and the targets; whether all of them are met."""
    figures = {subject.name: subject.medians() for subject in subjects}
    print("| server | CPU per request | requests per CPU second | p50 | p99 |\n| --- | --- | --- | --- | --- |")
    for name, (cpu, p50, p99) in figures.items():
        print(f"| {name} | {cpu:.1f} µs | {1e6 / cpu:,.0f} | {p50:.2f} ms | {p99:.2f} ms |")
    cpu, _, p99 = figures["flagent-cdc"]
    lines = [("CPU per request, × bare httptools protocol", cpu / figures["floor"][0], _FLOOR_TARGET)]
    if "flagr" in figures:
        lines += [
            ("CPU per request, × Flagr", cpu / figures["flagr"][0], _FLAGR_TARGET),
            ("p99, × Flagr", p99 / figures["flagr"][2], _P99_TARGET),
        ]
    print("\n| metric | measured | target | |\n| --- | --- | --- | --- |")
    for name, measured, target in lines:
        print(f"| {name} | {measured:.2f} | ≤ {target} | {'met' if measured <= target else '**missed**'} |")
    print(f"\nbeyond the floor: {cpu - figures['floor'][0]:.1f} µs per request; {requests} requests in each round")
    return all(measured <= target for _, measured, target in lines)


def report_websocket(rounds: Sequence[Sequence[float]], floors: Sequence[Sequence[float]]) -> bool:
    print(
        "\n| one WebSocket, evaluations per CPU second | measured | floor | target | |\n| --- | --- | --- | --- | --- |"
    )
    is_met = True
    names = ("one at a time", f"{IN_FLIGHT} in flight")
    columns = zip(names, zip(*rounds, strict=True), zip(*floors, strict=True), _WEBSOCKET_TARGETS, strict=True)
    for name, column, of_floor, target in columns:
        measured, floor = statistics.median(column), statistics.median(of_floor)
        is_met = is_met and measured >= target
        mark = "met" if measured >= target else "**missed**"
        print(f"| {name} | {measured:,.0f} | {floor:,.0f} | ≥ {target:,} | {mark} |")
    return is_met


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Processor time and latency of an evaluation over HTTP.")
    parser.add_argument("--flags", type=int, default=200)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--flagr", metavar="PATH", help="the program flagr-server, to be measured too")
    parser.add_argument("--in-parts", action="store_true", help="send head and body in two writes")
    parser.add_argument("--traced", action="store_true", help="give each request a traceparent of its own")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    core = Cores().server  # before `running_server` restricts this process to the core of the load
    dice = random.Random(options.seed)
    database = flags_in_a_database(options.flags, False, dice)
    for segment in database.tables["segments"].values():
        # Below 100, Flagr takes a share of each variant's entities, Flagent those of the lowest buckets.
        segment["rollout_percent"] = 100
    bodies = random_requests(options.requests, options.flags, dice)
    for body in bodies:
        # A number: Flagr compares no texts.
        body["entityContext"]["age"] = int(body["entityContext"]["age"])
    catalog = database.catalog()
    evaluator = Evaluator(lambda: catalog)
    answers = [evaluator.evaluate(decode_json(json.dumps(body))) for body in bodies]  # type: ignore[arg-type]
    expected = [compared(answer) for answer in answers]
    constant = json.dumps(answers[0], separators=(",", ":")).encode()
    floor_answer = (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(constant)}\r\n\r\n".encode()
        + constant
    )
    extra = [f"traceparent: 00-{dice.getrandbits(128):032x}-{dice.getrandbits(64):016x}-01\r\n" for _ in bodies]
    with ExitStack() as running:
        server = running.enter_context(running_server(database))
        subjects = [Subject("flagent-cdc", server.port, server.process, lambda got: wrong_answers(got, expected))]
        port, floor = running_floor(running, "floor", floor_answer, core)
        subjects.append(Subject("floor", port, floor, lambda got: [body for body in got if body != constant]))
        if options.flagr:
            port, process = running.enter_context(running_flagr(options.flagr, database, core))
            subjects.append(Subject("flagr", port, process, lambda got: wrong_answers(got, expected)))
        requests = {}
        for subject in subjects:
            wait_for_port(subject.port, subject.process.popen)
            requests[subject.name] = [
                encode_request(PATH, body, subject.port, header if options.traced else "")
                for body, header in zip(bodies, extra, strict=True)
            ]
        frames = [encode_message(number, body) for number, body in enumerate(bodies)]
        message = b'{"type":"evaluation_result","requestId":"0","position":"1","result":' + constant + b"}"
        websocket_port, websocket_floor = running_floor(running, "websocket_floor", message, core)
        wait_for_port(websocket_port, websocket_floor.popen)
        over_websocket: list[list[float]] = []
        over_floor: list[list[float]] = []
        for number in range(options.rounds + 1):  # the first warms up
            over_websocket.append(measure_websocket(server.process, server.port, frames, expected))
            over_floor.append(measure_websocket(websocket_floor, websocket_port, frames, ()))
            for subject in subjects:
                measure(subject, requests[subject.name], options.connections, in_parts=options.in_parts)
                if not number:
                    subject.rounds.clear()
    machine = describe()
    print(f"{machine['date']}, {machine['processor']}, {machine['cores']} cores, Python {machine['python']}\n")
    is_met = report(subjects, options.requests)
    return 0 if report_websocket(over_websocket[1:], over_floor[1:]) and is_met else 1


if __name__ == "__main__":
    sys.exit(main())
