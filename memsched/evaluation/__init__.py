"""How well memories are found and kept ready, measured by replaying conversations through the real pipeline."""
