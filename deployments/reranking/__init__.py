"""Scoring passages against a question: the engines and the deployment that runs one."""
