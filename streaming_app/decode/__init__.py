"""From bytes to the decoded layout: every value a string, every row accounted for."""
