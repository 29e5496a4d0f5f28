"""Pure: what a call is, what a policy says about it, and why.

Belongs here: parsing and judging calls, compiling policies, scoring, redaction, digests, explanations. Never: files,
sockets, clocks, randomness, logs, gRPC, Kubernetes. `now` is always an argument: seconds since the epoch, as a float.
"""
