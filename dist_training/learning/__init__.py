"""All that learns: the network with its optimizer, one step, validation, what it starts from."""
