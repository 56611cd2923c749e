"""The asynchronous face. ``blocking`` is made of it, word by word, by ``make client_files``."""
