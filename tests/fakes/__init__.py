"""Servers that stand in for the real ones in unit tests."""
