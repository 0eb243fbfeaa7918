"""`audit`: proves from ledger, read log and the Parquet files that every position read is in exactly one place, once.

The proof, for each source:

1. The read log's ranges join one another: each shard is read on from where it was left, each planned file once (reads.py).
   So every position belongs to exactly one epoch.
2. Every committed epoch has exactly one entry in the ledger, none is missing in between, and the entry's counts equal
   the read log's (source.py).
3. The entry's files exist as they were written, and their positions, clean and dead together, are exactly those of its
   epoch, each once (batches.py, tally.py).
   Where compactions have replaced files, the rows are looked for in what replaced them (compactions.py).
4. Every replayed row is one dead letter's, taken once by the book of dead letters (replays.py).
5. No other file is visible in the lake (lake.py), and no compaction took one that was nobody's.

It proves where every row is, not what is in its other columns; a file's size is compared, its bytes are not hashed. Each
step looks at one batch at a time, so memory does not grow with the lake: about 100 bytes a CSV file, 25 bytes a Parquet
file, 37 bytes a compacted file, and the positions of the batches under check (2 million, or those of the largest batch).
"""

from __future__ import annotations

from batch_app.audit.report import AuditReport, Finding, Kind, SourceReport
from batch_app.audit.run import audit

__all__ = ["AuditReport", "Finding", "Kind", "SourceReport", "audit"]
