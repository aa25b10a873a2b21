"""Settings to running objects: the only place where concrete classes meet."""
