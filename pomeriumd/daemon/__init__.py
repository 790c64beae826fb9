"""The running program: generations, services, logs; the only place that knows the reactor."""
