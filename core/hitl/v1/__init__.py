"""Generated from proto/hitl/v1 by `make generate`; never edited."""
