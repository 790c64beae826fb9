"""The authenticate service: sign-in, callback, renewal and sign-out."""
