"""In-memory twins of the ports in this room: one process, nothing kept, the same behaviour."""
