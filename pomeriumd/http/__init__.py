"""HTTP without a network: what a message is, which messages pass, and their bytes."""
