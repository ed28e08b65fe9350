"""The worker: it reads messages, runs their handlers, and takes over from workers that died. It knows no memory."""
