"""What a network is fed: slices of a prepared dataset as batches, and their random variants on the device."""
