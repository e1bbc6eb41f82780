"""Places that somebody else starts: guests that listen on sockets, as sidecars of a pod.

guest_listener.py  what the guest's container runs: a single file, standard library only
attached_pool.py   the pool, one guest, and what is said where nobody serves
"""
