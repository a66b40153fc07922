"""The services that one machine needs, started as child processes and ended with their parent."""
