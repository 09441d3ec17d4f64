"""What R2D2 does for a user, one typed call each; no terminal."""
