"""Settings from the environment, secret files, addresses of Redis, logging, JSON. Knows nothing of jobs."""
