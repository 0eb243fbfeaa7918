"""`query`: SQL over the lake by DuckDB, or by Athena where it is configured; the questions people ask have names."""
