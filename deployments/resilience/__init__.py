"""What happens when a call fails: policies as named values."""
