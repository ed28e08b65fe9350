"""The activation block on model servers: warmed as each caches, and proven by what each reports."""
