"""Losses, query sampling, augmentation and the training loop."""
