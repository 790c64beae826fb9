"""
Lets ``twistd`` find ``twistd pomerium``.

The module is named as a string: an unrelated ``twistd web`` on this host imports nothing
of ours. This directory has no ``__init__.py``, ever.
"""

from twisted.application.service import ServiceMaker

pomerium = ServiceMaker(
    "pomerium", "pomeriumd.daemon.tap", "Identity-aware access proxy.", "pomerium"
)
