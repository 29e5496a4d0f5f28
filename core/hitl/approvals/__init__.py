"""Pure: the life of an approval request, from the question to its one consumption.

Belongs here: who counts, when a request is decided, what may still change, names and keys, edits, tightening. Never:
storing, waiting, clocks, randomness, signatures' keys. `now` is always an argument: an aware datetime in UTC.
"""
