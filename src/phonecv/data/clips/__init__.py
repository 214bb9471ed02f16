"""Clips: videos, cameras and folders of frames."""
