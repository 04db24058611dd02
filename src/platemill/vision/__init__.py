"""Pre- and post-processing of the recogniser, in numpy and OpenCV only, and its profile.

Everything a Triton model does besides running a network stands here, so that the served
models, the evaluation and the training all compute the same thing.
"""
