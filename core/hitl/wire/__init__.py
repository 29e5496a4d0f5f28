"""Protobuf to domain and back, in one place for all programs.

`calls`: tool calls and their outcomes · `verdicts`: the evaluation behind an answer · `requests`: what has become of an
approval request · `identity`: who a sidecar is. Nothing here decides anything; a value that has no counterpart on the
other side is an error, never a default that could read as consent.
"""
