"""Memory: cubes and who may see them, what they hold, how it is found again. It knows nothing about streams."""
