"""Documents in: read, cut, embed, write, commit."""
