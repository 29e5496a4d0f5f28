"""The fixtures of the sidecar's tests; what they are made of is in gates."""

from gates import folder, gate, hub, options, start

__all__ = ["folder", "gate", "hub", "options", "start"]
