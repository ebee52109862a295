"""The journal: every answered prediction with its inputs and its pin, and the yields measured later.

One room for the service that writes it and for the commands that read it; SQLite in a file of its own, or PostgreSQL.
"""
