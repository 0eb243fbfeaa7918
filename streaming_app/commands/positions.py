"""`python -m streaming_app positions`: where the Kinesis source stands, as JSON that a new checkpoint can begin with."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from streaming_app.arguments import add_config_arguments, load_all
from streaming_app.config.models import SourceName
from streaming_app.config.positions import stream_name
from streaming_app.errors import ConfigError, SinkError
from streaming_app.journal.ledger import Ledger
from streaming_app.places import checkpoint_of, is_foreign
from streaming_app.storage import Storage, open_storage

if TYPE_CHECKING:
    from streaming_app.sources.kinesis.standing import Standing

_LATELY: Final = 60.0  # seconds; a checkpoint that was written to within them seems to be in use


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's arguments."""
    parser = commands.add_parser("positions", help="print where the Kinesis source stands, for a new checkpoint")
    add_config_arguments(parser)
    parser.add_argument("--format", choices=("json", "text"), default="json", help="json (default), or text to read")
    parser.set_defaults(command=run_positions)


def run_positions(options: argparse.Namespace) -> int:
    """Print the positions; what there is to know about them goes to standard error."""
    from streaming_app.sources.kinesis.standing import exported, standing_of  # noqa: PLC0415 - imports pyspark and boto3

    loaded, _ = load_all(options.config, options.overrides)
    config = loaded.config
    stream = config.sources.kinesis.stream
    if not stream:
        raise ConfigError("positions are those of the Kinesis source; name the stream in sources.kinesis.stream")
    if is_foreign(config, SourceName.KINESIS):
        raise ConfigError(
            f"connector {config.sources.kinesis.connector} keeps positions of its own; only python's are known"
        )
    checkpoint = open_storage(checkpoint_of(config, SourceName.KINESIS), config.lake.s3.storage_options())
    _require_same_stream(checkpoint, stream)
    standing = standing_of(checkpoint)
    _require_published(checkpoint, standing)
    for note in _notes(checkpoint, standing):
        print(f"note: {note}", file=sys.stderr)  # noqa: T201 - a word to the person, beside the output
    document = exported(stream, standing).to_json()
    print(json.dumps(document, indent=2) if options.format == "json" else _text(standing))  # noqa: T201 - the output
    return 0


def _require_same_stream(checkpoint: Storage, stream: str) -> None:
    """Raises ConfigError when the ledger says that another stream was read here."""
    ledger = Ledger(checkpoint)
    entry = next(iter(reversed(ledger.unpublished())), None) or ledger.get(ledger.published_through())
    read = entry.source.partition(":")[2] if entry else ""
    if read and read != stream_name(stream):
        raise ConfigError(f"{checkpoint.uri} has read stream {read!r}, but the configuration names {stream!r}")


def _require_published(checkpoint: Storage, standing: Standing) -> None:
    """Raises SinkError for rows that count as read and cannot be seen yet: whoever leaves this checkpoint loses them."""
    if standing.unpublished:
        batches = ", ".join(map(str, standing.unpublished))
        raise SinkError(
            f"batch {batches} of {checkpoint.uri} is committed, but its files may not all be visible yet. Stop the service,"
            " run `python -m streaming_app doctor --repair` with this configuration, and ask again"
        )


def _notes(checkpoint: Storage, standing: Standing) -> Iterator[str]:
    if standing.again >= 0:
        yield (
            f"batch {standing.again} was begun and not finished: these positions are where it began, and it is read again"
        )
    from streaming_app.doctor.state import seconds_since_change  # noqa: PLC0415 - see run_positions

    age = seconds_since_change(checkpoint)
    if age is not None and age < _LATELY:
        yield (
            f"the checkpoint was written to {age:.0f} s ago: the service seems to run. Stop it before these positions are"
            " used elsewhere, and ask again"
        )


def _text(standing: Standing) -> str:
    offset = standing.offset
    lines = [f"epoch {offset.epoch} begins at"]
    lines += [f"  {shard}  {position}" for shard, position in sorted(offset.shards.items())]
    lines += [f"  {shard}  read to its end ({position})" for shard, position in sorted(offset.finished.items())]
    return "\n".join(lines)
