"""Model servers that speak their protocols faithfully, on loopback, with faults on demand."""
