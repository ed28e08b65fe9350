"""What people read on a terminal: tables, and text made safe for it."""
