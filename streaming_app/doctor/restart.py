"""What the next start of the service will do with a checkpoint, in sentences; from the checkpoint alone."""

from __future__ import annotations

import json
from typing import Any

from streaming_app.config.models import SourceName
from streaming_app.doctor.state import Place, State
from streaming_app.errors import IngestError


def next_start(place: Place, state: State) -> list[str]:
    """The steps, in their order."""
    if not state.begun:
        return [f"a new checkpoint: begins at {_start(place)}"]
    if place.foreign:
        return ["goes on where the connector's own notes say; it keeps them, we do not know them"]
    lines = []
    last = state.spark.last_logged
    epoch = state.epoch_of(last)
    if last > state.spark.last_committed:
        lines.append(f"runs batch {last} again (epoch {'?' if epoch is None else epoch}), {_again(state, last)}")
    if place.source == SourceName.KINESIS:
        return lines + _kinesis(place)
    return lines + _csv(state, epoch)


def _start(place: Place) -> str:
    if place.source == SourceName.CSV:
        return "the oldest file"
    return "given positions" if place.start.startswith("{") else place.start


def _again(state: State, batch: int) -> str:
    if batch in state.batches:
        return "and writes nothing of it: the ledger has it"
    read = state.reads.get(state.epoch_of(batch) or -1)
    units = len(read.units) if read else 0
    if not units:
        return "of which nothing was recorded as read yet"
    rows = sum(unit.rows for unit in read.units.values()) if read else 0
    return f"of which {units} shards or files ({rows} rows) were read, and are read again exactly so"


def _kinesis(place: Place) -> list[str]:
    from streaming_app.sources.kinesis.standing import standing_of  # noqa: PLC0415 - imports pyspark and boto3

    try:
        standing = standing_of(place.checkpoint)
    except (IngestError, KeyError, TypeError, ValueError) as error:
        return [f"cannot say where it goes on: {error}"]
    offset = standing.offset
    lines = [f"{'it' if standing.again >= 0 else 'then it'} reads epoch {offset.epoch}: {len(offset.shards)} shards"]
    lines += [f"  {shard} from {position}" for shard, position in sorted(offset.shards.items())]
    return lines + [f"  {shard} was read to its end: its children follow" for shard in sorted(offset.finished)]


def _csv(state: State, epoch: int | None) -> list[str]:
    following = (epoch if epoch is not None else state.newest_epoch) + 1
    planned = state.reads.get(following)
    if planned is None or not planned.plan:
        return [f"then epoch {following} begins with the next new files"]
    files = [str(file["key"]) for file in _files(planned.plan)]
    return [
        f"then it reads epoch {following}, which is planned: {len(files)} files",
        *(f"  {key}" for key in files[:20]),
    ]


def _files(plan: dict[str, Any]) -> list[dict[str, Any]]:
    files = plan.get("files", [])
    return [file for file in files if isinstance(file, dict) and "key" in file]


def positions_json(place: Place) -> dict[str, Any] | None:
    """The Kinesis source's positions as `positions` prints them, None where there are none."""
    if place.source != SourceName.KINESIS or place.foreign:
        return None
    from streaming_app.sources.kinesis.standing import exported, standing_of  # noqa: PLC0415 - see above

    try:
        document: dict[str, Any] = json.loads(
            exported(place.label.partition(":")[2], standing_of(place.checkpoint)).to_text()
        )
    except (IngestError, KeyError, TypeError, ValueError):
        return None
    return document
