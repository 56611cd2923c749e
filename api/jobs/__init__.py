"""Jobs as HTTP resources: submitting a change, waiting for its end, representing, listing, cancelling."""
