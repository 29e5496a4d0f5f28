"""The archive of evidence on a volume (SECURITY H2): audit logs of sidecars, ended requests, policy text, checkpoints.

Belongs here: what writes it, durably and bounded. Its form, and reading it, is `hitl.audit`, for whoever verifies.

`disk` writes files · `segments` takes lines of audit logs, `epochs` bounds those of one pod · `checkpoints` signs what
there is · `archive` is the face · `shipping` serves sidecars · `expiry` deletes what is too old.
"""
