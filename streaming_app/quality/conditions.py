"""`row_condition`: which rows an expectation looks at, in the form that Great Expectations 1.9 and later write.

    {type: comparison, column: {name: city}, operator: "==", parameter: Jakarta}    == != < <= > >= IN NOT_IN
    {type: nullity, column: {name: city}, is_null: false}
    {type: and, conditions: [...]}   {type: or, conditions: [...]}

A comparison with a null is not true: such a row is not looked at. The older form, a text for a condition parser, is refused:
for one of the parsers it is any SQL, which could not be checked.
"""

from __future__ import annotations

from typing import Any, Final

from streaming_app.quality.arguments import Arguments
from streaming_app.quality.sql import all_of, any_of, identifier, in_list

_KEY: Final = "row_condition"
_COMPARED: Final = {"==": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_MEMBER: Final = {"IN": "", "NOT_IN": "NOT "}
_KEYS: Final = {
    "comparison": {"column", "operator", "parameter"},
    "nullity": {"column", "is_null"},
    "and": {"conditions"},
    "or": {"conditions"},
}
_MOST: Final = 100  # conditions together, Great Expectations' own limit


def looked_at(arguments: Arguments) -> str | None:
    """SQL that is true for the rows an expectation looks at; None where there is no condition."""
    arguments.get("condition_parser")
    value = arguments.get(_KEY)
    if value is None:
        return None
    if isinstance(value, str):
        arguments.problem(
            _KEY, 'is text; write {type: comparison, column: {name: ...}, operator: "==", parameter: ...}'
        )
        return None
    if _count(value) > _MOST:
        arguments.problem(_KEY, f"has more than {_MOST} conditions")
        return None
    return _condition(arguments, _KEY, value, within="")


def columns_of(value: Any) -> tuple[str, ...]:
    """The columns that a condition looks at."""
    if not isinstance(value, dict):
        return ()
    parts = value.get("conditions")
    inner = [name for part in parts for name in columns_of(part)] if isinstance(parts, list) else []
    own = [str(_name(value["column"]))] if "column" in value else []
    return tuple(dict.fromkeys([*own, *inner]))


def _count(value: Any) -> int:
    parts = value.get("conditions") if isinstance(value, dict) else None
    return sum(map(_count, parts)) if isinstance(parts, list) else 1


def _condition(arguments: Arguments, place: str, value: Any, within: str) -> str:
    """SQL of one condition; `within` is the kind of the one around it. Notes what cannot be used and returns TRUE."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in _KEYS:
        arguments.problem(place, f"should have a type: {', '.join(_KEYS)}")
        return "TRUE"
    for key in value.keys() - _KEYS[kind] - {"type"}:
        arguments.problem(f"{place}.{key}", "unknown key")
    if kind in {"and", "or"}:
        return _several(arguments, place, value, within)
    column = arguments.known_column(f"{place}.column.name", _name(value.get("column")))
    if kind == "nullity":
        if not isinstance(value.get("is_null"), bool):
            arguments.problem(f"{place}.is_null", "should be true or false")
        return f"{identifier(column.name)} IS {'' if value.get('is_null') is True else 'NOT '}NULL"
    return _comparison(arguments, place, value, column)


def _name(column: Any) -> Any:
    return column.get("name") if isinstance(column, dict) else column


def _several(arguments: Arguments, place: str, value: Any, within: str) -> str:
    kind, parts = value["type"], value.get("conditions")
    if within and kind == "or":  # Great Expectations refuses it, too
        arguments.problem(place, "or cannot stand inside another condition")
    if not isinstance(parts, list) or not parts:
        arguments.problem(f"{place}.conditions", "should be a list of conditions")
        return "TRUE"
    made = [_condition(arguments, f"{place}.conditions[{at}]", part, kind) for at, part in enumerate(parts)]
    return all_of(made) if kind == "and" else any_of(made)


def _comparison(arguments: Arguments, place: str, value: Any, column: Any) -> str:
    operator, parameter, name = value.get("operator"), value.get("parameter"), identifier(column.name)
    if operator in _MEMBER:
        if not isinstance(parameter, list) or not parameter:
            arguments.problem(f"{place}.parameter", "should be a list of values")
            return "TRUE"
        found = [arguments.member(f"{place}.parameter[{at}]", column, part) for at, part in enumerate(parameter)]
        return f"{_MEMBER[operator]}({in_list(name, [literal.sql for literal in found if literal])})"
    if operator not in _COMPARED:
        arguments.problem(f"{place}.operator", f"should be one of {', '.join([*_COMPARED, *_MEMBER])}")
        return "TRUE"
    if parameter is None:
        arguments.problem(f"{place}.parameter", "is missing; for null write {type: nullity, ...}")
        return "TRUE"
    literal = arguments.literal(f"{place}.parameter", column, parameter)
    return f"{name} {_COMPARED[operator]} {literal.sql if literal else 'NULL'}"
