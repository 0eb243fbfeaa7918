"""Rules: one Great Expectations suite, compiled to Spark SQL for the stream."""

from __future__ import annotations

from streaming_app.quality.rules import Rule, Severity, compile_rule, looked_at_sql
from streaming_app.quality.suite import Example, Suite, rules_problems

__all__ = ["Example", "Rule", "Severity", "Suite", "compile_rule", "looked_at_sql", "rules_problems"]
