"""Every format on disk, both ways: canonical bytes out, strict values in, newer versions refused.

``trees`` digests what a target holds, ``manifest`` and ``latest`` are the store's JSON, ``journal`` the record of the
operation in flight, ``chain`` the lines of the audit and ``creation`` what they say of a backup.
"""
