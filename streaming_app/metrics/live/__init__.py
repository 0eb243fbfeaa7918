"""The live page: what the service does now and did in the last hour, for people. Read-only, and only fed while it runs."""
