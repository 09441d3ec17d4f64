"""Published models by name and version: folders and web servers that have them, fetched, checked and found."""
