"""What a text says of itself: its words that carry meaning, and how likely it is to be asked for one day."""
