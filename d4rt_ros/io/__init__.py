"""Frames in: video files, folders of images, webcams; and the calibration of the camera that took them."""
