"""An OAuth2 and OpenID Connect provider of our own, made with Authlib, which tests use over real HTTP."""
