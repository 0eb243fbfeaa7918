"""`compact` and `vacuum`: many small Parquet files of a partition into few, and what is left over removed."""
