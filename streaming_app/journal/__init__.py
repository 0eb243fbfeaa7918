"""What the product remembers between micro-batches: the read log, the sink's ledger, and Spark's own offset log."""
