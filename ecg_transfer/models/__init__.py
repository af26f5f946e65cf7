"""The backbones: networks that turn a signal (B, 12, T) into an embedding (B, F)."""
