"""All memories embedded anew with another model, while everything goes on."""
