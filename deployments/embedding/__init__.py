"""Texts to vectors: the engines and the deployment that runs one."""
