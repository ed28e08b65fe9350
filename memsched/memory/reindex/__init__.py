"""All memories embedded anew with another model."""
