"""`catalog`: how Athena and other engines come to know the lake's two tables."""
