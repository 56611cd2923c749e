"""An OAuth2 and OpenID Connect provider of our own, made with Authlib, that tests speak to over real HTTP."""
