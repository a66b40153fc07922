"""ragserve as tools for agents, over the Model Context Protocol (MCP).

A thin layer over `serve_app.client`: what a caller may do is decided by the service, call by call.
"""
