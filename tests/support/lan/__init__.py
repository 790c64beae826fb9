"""
A network of several hosts on this machine: each a namespace with an address of its own.

What runs in one of them sees the others as on a real wire, and a fault can be put on one host
alone. All of it needs root; all of it ends with the test.
"""
