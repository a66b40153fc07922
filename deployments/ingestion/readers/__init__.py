"""Files in, text out: one module a format, each imported only when such a file comes.

`registry.read` is the way in; `sandbox` runs it where a hostile file can do no harm. A reader
never runs and never fetches anything that a file names, and fails only with a `DocumentError`
whose message a person can act on.
"""
