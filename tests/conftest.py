"""Fixtures for all tiers; what one tier needs alone stands in its own folder."""
