"""Every operation of the API, declared once: its method, its path, its body, and the model of what it leads to."""
