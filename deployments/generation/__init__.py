"""Conversations in, streams of tokens out: the engines and the deployment that runs one."""
