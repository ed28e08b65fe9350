"""How memsched talks to Redis: client, connection pool, scripts, key names, locks."""
