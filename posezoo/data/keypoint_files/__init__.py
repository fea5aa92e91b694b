"""Readers of detected 2D keypoints, one function per format; `posezoo.data.detections` calls them.

frames.py    people of each frame, and the order of frames by their ids
texts.py     JSON: COCO, OpenPose, mmpose, AlphaPose, MediaPipe
archives.py  NumPy: our own arrays, VideoPose3D
tables.py    DeepLabCut's .csv and .h5, SLEAP's .h5
"""
