# Generated from ../aio/__init__.py by tools/make_blocking.py: change it there, and run `make client_files`.
"""The blocking client."""
