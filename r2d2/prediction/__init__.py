"""A trained network applied to scans."""
