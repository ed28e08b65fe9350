"""From what was said to memories."""
