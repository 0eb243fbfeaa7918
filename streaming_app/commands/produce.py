"""`python -m streaming_app produce`: orders to a Kinesis stream until Ctrl-C, or sample CSV files."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from streaming_app.config.positions import stream_name
from streaming_app.errors import ConfigError

if TYPE_CHECKING:
    from streaming_app.producer import ProduceOptions, ProduceReport, SampleReport

_SAMPLE_SEED = 7


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's arguments."""
    parser = commands.add_parser("produce", help="send orders to a Kinesis stream, or write sample CSV files")
    where = parser.add_argument_group("where to send (--config, or --stream; a single option replaces the file's)")
    where.add_argument("--config", metavar="FILE", help="take stream, region and endpoint from this configuration")
    where.add_argument("--stream", metavar="NAME", help="name of the stream")
    where.add_argument("--region", metavar="REGION", help="AWS region; boto3's default otherwise")
    where.add_argument("--endpoint-url", metavar="URL", help="another endpoint than AWS's own, such as an emulator's")
    what = parser.add_argument_group("what to send")
    what.add_argument("--rate", type=float, default=2.0, metavar="N", help="events a second (2); 0 is no limit")
    what.add_argument("--count", type=int, metavar="N", help="stop after so many; without it, at Ctrl-C")
    what.add_argument("--bad-ratio", type=float, default=0.05, metavar="SHARE", help="share of bad events (0.05)")
    what.add_argument("--seed", type=int, metavar="N", help="the same seed makes the same orders; a new one otherwise")
    what.add_argument("--daily-peaks", action="store_true", help="more at meal times, nearly nothing at night")
    parser.add_argument("--samples", type=Path, metavar="DIR", help="write orders.csv and bad_orders.csv there instead")
    parser.set_defaults(command=run_produce)


def run_produce(options: argparse.Namespace) -> int:
    """Send, or write samples, and report; 1 when Kinesis did not take every event."""
    if options.samples is not None:
        return _write_samples(options)
    from streaming_app.producer import produce  # noqa: PLC0415 - boto3 takes 0.3 s to import

    wanted = _options(options)
    limit = "as fast as Kinesis takes them" if wanted.rate == 0 else f"{wanted.rate:g} a second"
    _say(f"sending orders to stream {wanted.stream}, {limit}; Ctrl-C stops")
    report = produce(wanted, _stop_at_signal().is_set)
    print(render(report))  # noqa: T201 - the command's output
    return 1 if report.failed else 0


def render(report: ProduceReport) -> str:
    """The report as text: totals, then counts by kind with what should become of each."""
    from streaming_app.producer import EVENT_KINDS  # noqa: PLC0415 - see run_produce

    made_from = f"seed {report.seed}, start {report.start.isoformat()}"
    counts = f"{report.sent_clean} good, {report.sent_dead} bad"
    lines = [f"{report.sent} events sent in {report.seconds:.1f} s: {counts} ({made_from})"]
    lines += [
        f"  {count:>9}  {EVENT_KINDS[kind].verdict.value:<5}  {kind}" for kind, count in report.sent_by_kind.items()
    ]
    if report.retried:
        lines.append(f"{report.retried} were refused at first and sent again")
    if report.failed:
        lines.append(f"{report.failed} events were NOT accepted; the last error: {report.last_error or 'stopped'}")
    return "\n".join(lines)


def _options(options: argparse.Namespace) -> ProduceOptions:
    from streaming_app.config import load  # noqa: PLC0415 - see run_produce
    from streaming_app.producer import ProduceOptions  # noqa: PLC0415 - see run_produce

    if not options.config and not options.stream:
        raise ConfigError("say where to send: --config FILE, or --stream NAME (and --region, --endpoint-url)")
    source = load(options.config).config.sources.kinesis if options.config else None
    return ProduceOptions(
        stream=stream_name(options.stream or (source.stream if source else "")),
        region=options.region or (source.region if source else ""),
        endpoint_url=options.endpoint_url or (source.endpoint_url if source else ""),
        rate=options.rate,
        count=options.count,
        bad_ratio=options.bad_ratio,
        seed=options.seed,
        daily_peaks=options.daily_peaks,
    )


def _stop_at_signal() -> threading.Event:
    """Set by the first SIGTERM or Ctrl-C; a second one ends the process as usual."""
    stop = threading.Event()

    def handle(number: int, _: object) -> None:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return stop


def _write_samples(options: argparse.Namespace) -> int:
    from streaming_app.producer import write_samples  # noqa: PLC0415 - see run_produce

    seed = _SAMPLE_SEED if options.seed is None else options.seed
    print(render_samples(write_samples(options.samples, seed), seed))  # noqa: T201 - the command's output
    return 0


def render_samples(report: SampleReport, seed: int) -> str:
    """Both files with their rows, and the kinds of the second."""
    from streaming_app.producer import CSV_KINDS  # noqa: PLC0415 - see run_produce

    lines = [
        f"{report.good_file}: {report.good_rows} good rows (seed {seed})",
        f"{report.bad_file}: {report.bad_file_clean} good rows, {report.bad_file_dead} bad",
    ]
    lines += [
        f"  {count:>9}  {CSV_KINDS[kind].verdict.value:<5}  {kind}" for kind, count in report.bad_file_by_kind.items()
    ]
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress
