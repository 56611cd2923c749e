"""The asynchronous client. ``make client_files`` generates ``blocking`` from it."""
