"""gRPC between proxy and authorize: the API, its server, and the pool that asks replicas."""

import os

# grpc's core writes to standard error by itself, past our log and its bounds: a line for each
# stranger who speaks no TLS to the port. What matters of it comes back as a status or an
# error. It reads this when it is imported; an operator who looks for something can set it.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
