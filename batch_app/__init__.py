"""Commands on the same engine as the service, for what is there already."""
