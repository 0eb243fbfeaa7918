"""Commands beside `run`: arguments here, the work imported only when a command is really run."""
