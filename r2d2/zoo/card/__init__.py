"""What a published model says of itself, and the page that shows it."""
