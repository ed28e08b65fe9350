"""The conversation about a pet: what is said becomes memory, through a death in the middle of it."""
