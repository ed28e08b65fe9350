"""The message queue on Redis Streams: what is there, and the scripts that change it. It runs no message."""
