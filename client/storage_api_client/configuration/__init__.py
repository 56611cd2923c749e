"""Where the service is and who asks: the environment, config.toml, and what was stored by signing in."""
