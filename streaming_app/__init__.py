"""The engine and the streaming service: sources, pipeline, sink and the application around them."""

__version__ = "0.1.0"
