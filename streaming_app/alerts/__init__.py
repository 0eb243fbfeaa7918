"""Alerts: Amazon SNS, a webhook and the log, told of what a person should look at. Never blocks, never fails the stream."""

from __future__ import annotations

from streaming_app.alerts.alert import Alert, Level
from streaming_app.alerts.channels import open_channels
from streaming_app.alerts.dispatch import Alerts

__all__ = ["Alert", "Alerts", "Level", "open_channels"]
