# Made of ../aio/__init__.py by tools/faces.py: change it there, and run `make client_files`.
"""The blocking face."""
