"""Latency and throughput of the service and two other servers in the same run, as a Markdown table.

    python benchmarks/serving.py [--quick] [--without journal,log] [--json] [--check]

Needs wrk, two cores and the model that dvc.lock pins. `echo` is a typed Litestar endpoint that replies with the body;
`usual` is FastAPI, pandas and scikit-learn.
"""

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from batchyield.errors import BatchyieldError
from batchyield.plant.batch import ENCODING
from benchmarks.bodies import CSV_ROWS, Bodies, write_bodies
from benchmarks.contenders import Contender, echo, running, service, usual
from benchmarks.load import CONNECTIONS, Round, check_wrk, interleaved

SHEET = {"Content-Type": f"text/csv; charset={ENCODING}"}


SETTLE_SECONDS = 1.0
"""After the last answer, before resident memory is read."""


class Effort(NamedTuple):
    """How long is measured."""

    rounds: int
    seconds: float
    starts: int


FEW_CONNECTIONS = 4

USUAL, QUICK = Effort(7, 2.0, 5), Effort(3, 1.0, 3)


class Figures(NamedTuple):
    """All that was measured; rounds by server.

    Attributes:
        single, hundred: of 1 and of 100 rows, over `CONNECTIONS`.
        alone: of 1 row, over one connection.
        few: of 100 rows, over `FEW_CONNECTIONS`.
        placed: of 1 row, with and without measured yields.
    """

    single: Mapping[str, Round]
    alone: Mapping[str, Round]
    hundred: Mapping[str, Round]
    few: Mapping[str, Round]
    placed: Mapping[str, Round]
    two_workers: Round
    sheet_seconds: float
    first_answer: float
    resident: float


class Target(NamedTuple):
    """A figure, the bound it is to keep, and whether it does."""

    what: str
    found: str
    bound: str
    met: bool


def measure(effort: Effort, without: tuple[str, ...]) -> Figures:
    """Starts everything, loads it and stops it again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bodies = write_bodies(folder)
        first = bodies.single.read_bytes().split(b"\n", 1)[0]
        ours = service("service", folder)
        fast = [ours, echo()]
        if without:
            fast.append(service(f"service without {' and '.join(without)}", folder, without))
        with running(*fast, usual(bodies.sheet), body=first) as servers:
            single = interleaved(servers, bodies.single, effort.rounds, effort.seconds)
            hundred = interleaved(servers, bodies.hundred, effort.rounds, effort.seconds)
            quick = servers[: len(fast)]
            alone = interleaved(quick, bodies.single, effort.rounds, effort.seconds, 1)
            few = interleaved(quick, bodies.hundred, effort.rounds, effort.seconds, FEW_CONNECTIONS)
            sheet = bodies.large_sheet.read_bytes()
            sheets = [servers[0].post("/v1/predictions/csv", sheet, SHEET) for _ in range(effort.rounds)]
            time.sleep(SETTLE_SECONDS)
            resident = servers[0].resident()
        return Figures(
            single,
            alone,
            hundred,
            few,
            _with_outcomes(folder, bodies, effort),
            _two_workers(folder, bodies, effort, first),
            statistics.median(sheets),
            statistics.median(_first_answer(ours, first) for _ in range(effort.starts)),
            resident,
        )


def _with_outcomes(folder: Path, bodies: Bodies, effort: Effort) -> dict[str, Round]:
    """The same batches with and without measured yields of earlier ones."""
    body = bodies.placed.read_bytes().split(b"\n", 1)[0]
    with running(service("without outcomes", folder), service("with outcomes", folder), body=body) as servers:
        servers[1].learn(bodies.measured, body)
        return interleaved(servers, bodies.placed, effort.rounds, effort.seconds)


def _two_workers(folder: Path, bodies: Bodies, effort: Effort, body: bytes) -> Round:
    with running(service("two workers", folder, workers=2), body=body) as servers:
        return interleaved(servers, bodies.single, effort.rounds, effort.seconds)["two workers"]


def _first_answer(contender: Contender, body: bytes) -> float:
    with running(contender, body=body) as servers:
        return servers[0].first_answer


def targets(found: Figures) -> list[Target]:
    """Each bound that the service is to keep."""
    single, hundred = found.single, found.hundred
    of_echo = single["service"].rate / single["echo"].rate
    of_usual = single["service"].rate / single["usual"].rate
    sheet, start, resident = found.sheet_seconds, found.first_answer, found.resident
    tail = single["service"].p99 / single["service"].p50
    large = hundred["service"].rate / hundred["echo"].rate
    alone, few = (one["service"].rate / one["echo"].rate for one in (found.alone, found.few))
    learned = found.placed["with outcomes"].rate / found.placed["without outcomes"].rate
    return [
        Target("1 row, share of the echo's rate", f"{of_echo:.0%}", "≥ 85 %", of_echo >= 0.85),
        Target("the same over one connection", f"{alone:.0%}", "≥ 50 %", alone >= 0.5),
        Target("1 row, times the usual service's rate", f"{of_usual:.0f}", "≥ 70", of_usual >= 70),
        Target("1 row, p99 / p50", f"{tail:.1f}", "≤ 3", tail <= 3),
        Target("1 row beside measured yields, of the rate without", f"{learned:.0%}", "≥ 95 %", learned >= 0.95),
        Target("100 rows, share of the echo's rate", f"{large:.0%}", "≥ 58 %", large >= 0.58),
        Target(f"the same over {FEW_CONNECTIONS} connections", f"{few:.0%}", "≥ 45 %", few >= 0.45),
        Target(f"{CSV_ROWS:,} rows in one CSV", f"{sheet * 1e3:.0f} ms", "< 1,000 ms", sheet < 1),
        Target("start to first answer", f"{start:.2f} s", "< 1.0 s", start < 1),
        Target("resident in a worker after all this", f"{resident:.0f} MiB", "< 150 MiB", resident < 150),
    ]


def table(found: Figures) -> str:
    """Everything in Markdown."""
    lines = [machine(), "", "Server on one core and load on another, medians:", ""]
    lines += ["| server | body | connections | requests/s | of the echo | times the usual | p50 ms | p99 ms | CPU µs |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for body, connections, rounds in (
        ("1 row", CONNECTIONS, found.single),
        ("1 row", 1, found.alone),
        ("100 rows", CONNECTIONS, found.hundred),
        ("100 rows", FEW_CONNECTIONS, found.few),
    ):
        for name, one in rounds.items():
            lines.append(_line(name, f"{body} | {connections}", one, rounds))
    body = f"1 row | {CONNECTIONS}"
    lines += [_line(f"service {name}", body, one, found.single) for name, one in found.placed.items()]
    lines.append(_line("service, 2 workers beside the load", body, found.two_workers, found.single))
    lines += ["", "| target | measured | bound | |", "|---|---|---|---|"]
    for what, value, bound, met in targets(found):
        lines.append(f"| {what} | {value} | {bound} | {'pass' if met else '**miss**'} |")
    return "\n".join(lines)


def _line(name: str, body: str, one: Round, beside: Mapping[str, Round]) -> str:
    of_usual = f"{one.rate / beside['usual'].rate:,.1f}" if "usual" in beside else ""
    shares = f"{one.rate / beside['echo'].rate:.0%} | {of_usual}"
    return (
        f"| {name} | {body} | {one.rate:,.0f} | {shares} | {one.p50 * 1e3:.2f} | {one.p99 * 1e3:.2f} | {one.cpu:,.0f} |"
    )


def machine() -> str:
    """What all of it ran on."""
    names = [line for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines() if line.startswith("model name")]
    cpu = names[0].partition(":")[2].strip() if names else platform.machine()
    return f"{cpu}, {len(names)} cores; Linux {platform.release()}; Python {platform.python_version()}"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: a look, not a figure to quote")
    parser.add_argument(
        "--without",
        type=lambda text: tuple(text.split(",")),
        default=(),
        metavar="PARTS",
        help="measure the service without these too: journal, log, or journal,log",
    )
    parser.add_argument("--json", action="store_true", help="figures and targets as JSON")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a target is missed")
    options = parser.parse_args(arguments)
    if unknown := set(options.without) - {"journal", "log"}:
        parser.error(f"--without takes journal and log, not {', '.join(sorted(unknown))}")
    try:
        check_wrk()
        found = measure(QUICK if options.quick else USUAL, options.without)
    except BatchyieldError as error:
        print(f"serving: {error}", file=sys.stderr)
        return error.exit_code
    judged = targets(found)
    if options.json:
        report = {"machine": machine(), "figures": found._asdict(), "targets": [one._asdict() for one in judged]}
        print(msgspec.json.encode(report).decode())
    else:
        print(table(found))
    return int(options.check and not all(one.met for one in judged))


if __name__ == "__main__":
    sys.exit(main())
