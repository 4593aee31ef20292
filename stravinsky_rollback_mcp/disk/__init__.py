"""Synchronous I/O that knows the file system. It takes explicit paths, follows orders and holds no policy."""
