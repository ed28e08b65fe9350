"""MOS: users, cubes, add, search, chat; for code with an event loop and for code without."""
