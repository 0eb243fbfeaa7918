"""`trace`: where one order is, and how it came there: read, committed, clean or rejected, replayed, compacted."""
