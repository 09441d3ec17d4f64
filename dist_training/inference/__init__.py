"""What a trained network is to others: its outputs and its model card."""
