"""HTTP below the routes: bodies, compression, connections, shutdown."""
