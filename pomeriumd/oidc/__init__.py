"""OpenID Connect: the identity provider's side of a sign-in."""
