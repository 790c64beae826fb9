"""Which route a request meets, who may use it, and how the upstream learns who came."""
