"""VGGT (Wang et al. 2025): cameras, depth and points of any number of frames in one pass of a transformer."""
