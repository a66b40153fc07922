"""`ragserve`, the command line: starts a server here, or talks to one anywhere."""
