"""gRPC between proxy and authorize: the API, its server, and the pool that asks replicas."""
