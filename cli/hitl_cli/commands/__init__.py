"""One file per command; each calls its click command `command`, and main.py loads only the one that was typed."""
