"""Readers for the files of Torch7, Caffe and TensorFlow; none runs code from a file."""
