"""Ways to sign in: each is a flow, or the credentials that came of one."""
