"""What the tests share: servers, worker processes, handlers, and ways to wait for a condition."""
