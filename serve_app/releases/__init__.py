"""Releases: what is validated before, watched during and taken back after a deployment."""
