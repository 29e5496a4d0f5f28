"""Protobuf to domain and back, in one place for all programs."""
