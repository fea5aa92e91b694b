"""Readers for the files of other programs: Torch7, Caffe and TensorFlow. None of them runs code from a file."""
