# The lake's two tables as Athena, Trino and Spark know them. Columns come from the dataset's own file; those that the product
# adds stand below, and a test holds all of them against the schema that the sink writes.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.90"
    }
  }
}

data "aws_region" "current" {}

locals {
  simple = { for column in var.dataset.columns : column.name => lower(replace(column.type, "/\\s+/", "")) }

  tables = {
    clean = {
      description = var.dataset.description
      day         = var.dataset.partition_column
      columns = concat(
        [for column in var.dataset.columns : {
          name    = column.name
          type    = local.simple[column.name]
          comment = try(column.description, "")
        }],
        [
          { name = "rescued_data", type = "string", comment = "" },
          { name = "quality_warnings", type = "array<string>", comment = "" },
          { name = "source_position", type = "string", comment = "" },
          { name = "ingested_at", type = "timestamp", comment = "" },
        ],
      )
    }

    dead_letter = {
      description = "Rejected rows, whole, with their reasons."
      day         = "dead_date"
      columns = [for column in [
        "dead_letter_id string", "stage string", "reasons array<string>", "raw string", "raw_encoding string", "source string",
        "source_position string", "arrived_at timestamp", "ingested_at timestamp", "suite_fingerprint string",
      ] : { name = split(" ", column)[0], type = split(" ", column)[1], comment = "" }]
    }
  }

  # Properties as `batch_app catalog ddl` writes them.
  projection = {
    for name, table in var.projection_since == null ? {} : local.tables : name => {
      "projection.enabled"                    = "true"
      "projection.input_source.type"          = "enum"
      "projection.input_source.values"        = "stream,batch"
      "projection.${table.day}.type"          = "date"
      "projection.${table.day}.format"        = "yyyy-MM-dd"
      "projection.${table.day}.range"         = "${var.projection_since},NOW+1DAYS"
      "projection.${table.day}.interval"      = "1"
      "projection.${table.day}.interval.unit" = "DAYS"
      "storage.location.template"             = "${var.lake_uri}/${name}/input_source=$${input_source}/${table.day}=$${${table.day}}"
    }
  }
}

resource "aws_glue_catalog_database" "this" {
  name        = var.database
  description = "Restaurant orders: what was accepted and what was rejected."
}

resource "aws_glue_catalog_table" "this" {
  for_each = local.tables

  database_name = aws_glue_catalog_database.this.name
  name          = each.key
  description   = each.value.description
  table_type    = "EXTERNAL_TABLE"

  parameters = merge(
    { EXTERNAL = "TRUE", classification = "parquet" },
    var.partitions == "projection" ? local.projection[each.key] : {},
  )

  partition_keys {
    name = "input_source"
    type = "string"
  }

  partition_keys {
    name = each.value.day
    type = "date"
  }

  storage_descriptor {
    location      = "${var.lake_uri}/${each.key}/"
    input_format  = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat"
    output_format = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat"

    ser_de_info {
      serialization_library = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
      parameters            = { "serialization.format" = "1" }
    }

    dynamic "columns" {
      for_each = each.value.columns

      content {
        name    = columns.value.name
        type    = columns.value.type
        comment = columns.value.comment
      }
    }
  }
}
