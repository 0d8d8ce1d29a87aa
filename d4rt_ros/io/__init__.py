"""Frames in: messages, videos, folders, cameras, streams, bags; and the calibration of the camera that took them."""
