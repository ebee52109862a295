"""The prediction journal: every answered prediction with its inputs and its model, and the yields measured later.

The service writes it and the commands read it. It is a SQLite file or a PostgreSQL database.
"""
