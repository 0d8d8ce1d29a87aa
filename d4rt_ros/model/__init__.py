"""The network: configuration, encoder, query embedding, decoder, heads and checkpoints."""
