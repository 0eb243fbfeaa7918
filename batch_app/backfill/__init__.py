"""`backfill` and `ingest`: files of raw/ or raw_stream/ through the stream's own pipeline and sink, each exactly once."""
