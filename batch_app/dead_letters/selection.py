"""Which dead letters a command is about: days, sources, stages, reasons, a text, single ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final

from streaming_app.errors import ConfigError
from streaming_app.schema import InputSource, Stage

_ID: Final = re.compile(r"[0-9a-f]{4,32}")
_SOURCES: Final = {"kinesis": InputSource.STREAM, "csv": InputSource.BATCH} | {
    label.value: label for label in InputSource
}


@dataclass(frozen=True)
class Selection:
    """Filters, all of which a dead letter must meet; of several values of one filter it must meet any.

    Days are those of rejection (UTC), both inclusive. `labels` are full source names (`kinesis:pos-orders`), `ids` may be
    the beginnings of ids. An empty filter lets everything pass.
    """

    since: date | None = None
    until: date | None = None
    inputs: tuple[InputSource, ...] = ()
    labels: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    text: str = ""
    ids: tuple[str, ...] = ()

    @property
    def given(self) -> bool:
        """Whether there is any filter at all."""
        return self != Selection()

    def has_day(self, day: str) -> bool:
        """Whether a partition `dead_date=<day>` can hold what is wanted."""
        return (self.since is None or day >= self.since.isoformat()) and (
            self.until is None or day <= self.until.isoformat()
        )

    def days(self) -> list[date] | None:
        """Every day of the range, None when it is open at an end or longer than a month."""
        if self.since is None or self.until is None or self.until - self.since > timedelta(days=31):
            return None
        return [self.since + timedelta(days=number) for number in range((self.until - self.since).days + 1)]

    def without_stage(self, stage: Stage) -> Selection:
        """The same without one stage, unless it was asked for."""
        return self if self.stages else replace(self, stages=tuple(other for other in Stage if other != stage))


def parse_day(text: str) -> date:
    """A day as 2026-03-01, `today` or `yesterday` (UTC). Raises ConfigError."""
    today = datetime.now(UTC).date()
    named = {"today": today, "yesterday": today - timedelta(days=1)}
    if text in named:
        return named[text]
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no day; write it as 2026-03-01, or today, or yesterday") from None


def parse_selection(
    *,
    day: str | None = None,
    since: str | None = None,
    until: str | None = None,
    sources: Sequence[str] = (),
    stages: Sequence[str] = (),
    reasons: Sequence[str] = (),
    text: str | None = None,
    ids: Sequence[str] = (),
) -> Selection:
    """Filters as they were typed. Raises ConfigError for what can never match, and for empty filters."""
    if day is not None and (since is not None or until is not None):
        raise ConfigError("give --date, or --since and --until, not both")
    for name, values in {"source": sources, "stage": stages, "reason": reasons, "text": [text], "id": ids}.items():
        if "" in values:
            raise ConfigError(f"--{name} is empty; leave it out or say which")
    first, last = (parse_day(value) if value is not None else None for value in (day or since, day or until))
    if first and last and first > last:
        raise ConfigError(f"--since {first} is after --until {last}; exchange them")
    for stage in stages:
        if stage not in list(Stage):
            raise ConfigError(f"there is no stage {stage!r}; stages are {', '.join(Stage)}")
    return Selection(
        since=first,
        until=last,
        inputs=tuple(_SOURCES[source] for source in sources if source in _SOURCES),
        labels=tuple(source for source in sources if source not in _SOURCES),
        stages=tuple(stages),
        reasons=tuple(reasons),
        text=text or "",
        ids=tuple(_id(value) for value in ids),
    )


def _id(value: str) -> str:
    if not _ID.fullmatch(value.lower()):
        raise ConfigError(f"{value!r} is no id of a dead letter: 32 hexadecimal digits, or the first 4 or more of them")
    return value.lower()
