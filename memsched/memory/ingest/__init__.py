"""From what was said to memories: turns, what they are worth, duplicates, corrections."""
