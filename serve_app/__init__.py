"""Front of house: everything a caller or an operator touches."""

__version__ = "0.1.0"
