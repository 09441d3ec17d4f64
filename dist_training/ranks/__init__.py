"""What makes training distributed: the ranks and their exchange, gradients, optimizer, synchronised layers."""
