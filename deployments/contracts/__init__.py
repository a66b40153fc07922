"""The ports and the frozen values that every room shares, one module a noun.

Each port has a real adapter and an in-memory twin that pass the same test suite. Nothing here
imports a vendor's package: a replica that needs only the shapes pays only for the shapes.
"""
