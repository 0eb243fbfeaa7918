"""Configuration: one YAML file per environment, read once into frozen models (design.md, "Configuration")."""

from __future__ import annotations

from streaming_app.config.load import Loaded, effective_yaml, load
from streaming_app.config.models import Config

__all__ = ["Config", "Loaded", "effective_yaml", "load"]
