"""Models for programs without R2D2, and networks from there: written, read, and checked to decide alike."""
