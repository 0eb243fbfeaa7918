"""CSV files below a folder or S3 prefix, as a Spark data source: `csv-files`."""

from __future__ import annotations

from streaming_app.sources.csv_files.options import CsvOptions, csv_options, parse_options
from streaming_app.sources.csv_files.source import CsvFilesDataSource

__all__ = ["CsvFilesDataSource", "CsvOptions", "csv_options", "parse_options"]
