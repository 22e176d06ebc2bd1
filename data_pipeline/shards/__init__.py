"""Shards: the unit of work, of memory and of resuming, whoever does the work.

Purpose: `shard.py` makes one; `engines.py` says where; `store.py` holds what it reads; `fingerprint.py` says when a
finished one may be used again.
"""
