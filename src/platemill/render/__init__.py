"""Drawn number plates, street scenes and demo archives, in numpy, OpenCV and Pillow only."""
