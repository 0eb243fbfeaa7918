"""What every metric is now. Written by the driver's listeners, read by exporters; no exporter's types in here."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from streaming_app.metrics.catalogue import MOST_VALUES, OTHER, Kind, Metric

Labels = tuple[str, ...]
_LONGEST: Final = 200  # characters of a label value


@dataclass
class Observed:
    """A histogram's series: how many observations fell into each bucket (the last one is +Inf), and their sum."""

    counts: list[int]
    sum: float = 0.0


@dataclass
class Series:
    """All series of one metric, by the values of its labels."""

    numbers: dict[Labels, float] = field(default_factory=dict)
    observed: dict[Labels, Observed] = field(default_factory=dict)


class Values:
    """Safe between threads; every method takes microseconds. `change` makes several changes visible at once."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._series: dict[Metric, Series] = {}

    @property
    def change(self) -> threading.RLock:
        """A scrape sees nothing or all of what is done inside `with values.change:`."""
        return self._lock

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Set one series."""
        with self._lock:
            self._of(metric).numbers[self._bounded(metric, labels)] = value

    def add(self, metric: Metric, value: float, *labels: str) -> None:
        """Let a counter grow."""
        with self._lock:
            numbers, key = self._of(metric).numbers, self._bounded(metric, labels)
            numbers[key] = numbers.get(key, 0) + value

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Take an observation into a histogram."""
        with self._lock:
            observed = self._of(metric).observed
            if labels not in observed:
                observed[labels] = Observed([0] * (len(metric.buckets) + 1))
            observed[labels].counts[bisect_left(metric.buckets, value)] += 1
            observed[labels].sum += value

    def drop(self, metric: Metric, *labels: str) -> None:
        """Have no such series: its value is not known."""
        with self._lock:
            self._of(metric).numbers.pop(labels, None)

    def replace(self, metric: Metric, source: str, values: Mapping[str, float]) -> None:
        """Set all series of a source by the value of the one other label; series that are not named are gone."""
        with self._lock:
            numbers = self._of(metric).numbers
            for key in [key for key in numbers if key[0] == source]:
                del numbers[key]
            for number, (label, value) in enumerate(values.items()):
                key = (source, OTHER if metric.open_label and number >= MOST_VALUES else label[:_LONGEST])
                before = numbers.get(key, 0)
                numbers[key] = before + value if metric.kind is Kind.COUNTER else max(before, value)

    def get(self, metric: Metric, *labels: str) -> float | None:
        """One series, None when there is none."""
        with self._lock:
            return self._of(metric).numbers.get(labels)

    def series(self, metric: Metric) -> dict[Labels, float]:
        """All series of a counter or gauge."""
        with self._lock:
            return dict(self._of(metric).numbers)

    def snapshot(self) -> list[tuple[Metric, Series]]:
        """A copy of everything there is, of one moment."""
        with self._lock:
            return list(self._copies())

    def _copies(self) -> Iterator[tuple[Metric, Series]]:
        for metric, series in self._series.items():
            observed = {key: Observed(list(each.counts), each.sum) for key, each in series.observed.items()}
            yield metric, Series(dict(series.numbers), observed)

    def _of(self, metric: Metric) -> Series:
        return self._series.setdefault(metric, Series())

    def _bounded(self, metric: Metric, labels: Labels) -> Labels:
        """The labels, with `other` in place of an open value that comes after too many."""
        labels = tuple(label[:_LONGEST] for label in labels)
        if not metric.open_label or labels in self._of(metric).numbers:
            return labels
        at = metric.labels.index(metric.open_label)
        same = sum(1 for key in self._of(metric).numbers if key[:at] == labels[:at])
        return labels if same < MOST_VALUES else (*labels[:at], OTHER, *labels[at + 1 :])
