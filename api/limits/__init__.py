"""How many requests may run, wait or stream at the same time, and who is next. Knows nothing of routes and roles."""
