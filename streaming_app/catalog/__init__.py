"""The lake's tables in the AWS Glue Data Catalog: what Athena, Trino and Spark look up to find columns and partitions.

catalog = open_catalog(config, dataset)  # None where the configuration has no catalog
catalog.register([Partition("clean", "stream", date(2026, 3, 1))])
catalog.switch(partition, "s3://bucket/lake/compacted/...")
"""

from __future__ import annotations

from streaming_app.catalog.glue import GlueCatalog, open_catalog
from streaming_app.catalog.registrar import Registrar
from streaming_app.catalog.tables import TABLES, Mode, Partition, Table, table_of

__all__ = ["TABLES", "GlueCatalog", "Mode", "Partition", "Registrar", "Table", "open_catalog", "table_of"]
