"""A point-of-sale simulator: realistic orders, sent to Kinesis or written as sample CSV files.

The same seed and start time give the same bytes. Every event says what should become of it, so that a test or the demo can
compare what was sent with what arrived.
"""

from streaming_app.producer.events import EVENT_KINDS, Event, EventKind, Verdict, events
from streaming_app.producer.produce import ProduceOptions, ProduceReport, produce
from streaming_app.producer.samples import CSV_KINDS, SampleReport, SampleRow, sample_rows, write_samples

__all__ = [
    "CSV_KINDS",
    "EVENT_KINDS",
    "Event",
    "EventKind",
    "ProduceOptions",
    "ProduceReport",
    "SampleReport",
    "SampleRow",
    "Verdict",
    "events",
    "produce",
    "sample_rows",
    "write_samples",
]
