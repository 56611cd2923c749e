"""Access to storage back-ends with a circuit breaker and health checks. Nothing else opens a back-end."""
