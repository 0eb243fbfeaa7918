"""Expectations about a column's type, by the names of Spark's types.

Great Expectations on Spark looks at the column's type and at no value. Here every value was cast to the dataset's type
before any rule sees it (one that does not cast is a dead letter), so the verdict is known when the suite is read: a rule
that holds rejects nothing, and one that cannot hold is a mistake in the suite and reported as such.
"""

from __future__ import annotations

import difflib
from typing import Any, Final

from streaming_app.quality.arguments import Arguments
from streaming_app.quality.expectation import RowLevel
from streaming_app.quality.sql import family
from streaming_app.schema import Column

_ANY: Final = ("AtomicType", "DataType")
_SPARK: Final = {
    "string": ("StringType", *_ANY),
    "boolean": ("BooleanType", *_ANY),
    "int": ("IntegerType", "IntegralType", "NumericType", *_ANY),
    "bigint": ("LongType", "IntegralType", "NumericType", *_ANY),
    "decimal": ("DecimalType", "FractionalType", "NumericType", *_ANY),
    "double": ("DoubleType", "FractionalType", "NumericType", *_ANY),
    "date": ("DateType", "DatetimeType", *_ANY),
    "timestamp": ("TimestampType", "DatetimeType", *_ANY),
}


def spark_types(column: Column) -> tuple[str, ...]:
    """Names in pyspark.sql.types that the column's type goes by, its own first."""
    return _SPARK[family(column)]


def _of_type(arguments: Arguments) -> str:
    column, name = arguments.column(), arguments.required("type_")
    return _holds(arguments, column, "type_", [] if name is None else [name])


def _in_type_list(arguments: Arguments) -> str:
    column, names = arguments.column(), arguments.a_list("type_list")
    if isinstance(arguments.get("type_list"), list) and not names:
        arguments.problem("type_list", "is empty; give one type at least")
    return _holds(arguments, column, "type_list", names)


def _holds(arguments: Arguments, column: Column, kwarg: str, names: list[Any]) -> str:
    if names and not arguments.problems and not set(spark_types(column)) & {str(name) for name in names}:
        asked = ", ".join(map(str, names))
        arguments.problem(kwarg, f"{column.name} is {spark_types(column)[0]} and never {asked}{_meant(names)}")
    return "FALSE"


def _meant(names: list[Any]) -> str:
    """A hint where a name is none of Spark's."""
    known = sorted({name for group in _SPARK.values() for name in group})
    strange = [str(name) for name in names if str(name) not in known]
    near = difflib.get_close_matches(strange[0], known, n=1) if strange else []
    return f"; write Spark's names, such as {near[0] if near else 'StringType'}" if strange else ""


EXPECTATIONS: Final = (
    RowLevel("expect_column_values_to_be_of_type", "of_type", _of_type),
    RowLevel("expect_column_values_to_be_in_type_list", "in_type_list", _in_type_list),
)
