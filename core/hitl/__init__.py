"""The ground every hitl program stands on: words, pure decisions, stores and the wire.

Nothing here starts a process or knows which program it runs in.
"""

__version__ = "0.1.0"
