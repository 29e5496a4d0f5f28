"""What people type: one file per command; render.py is the only printer."""
