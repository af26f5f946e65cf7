"""What a backbone is pre-trained on without labels, and the module that does it."""
