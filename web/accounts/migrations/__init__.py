"""Steps from one layout of the server's tables to the next."""
