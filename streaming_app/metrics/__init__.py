"""What the service does, in figures: one catalogue, kept on the driver, handed out over HTTP."""
