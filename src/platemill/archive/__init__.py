"""Archives of photos: what is there, whose it is, when it was taken, and its bytes and pixels.

An archive is a folder, a ``.tar`` or a ``.zip``, or a folder that holds such files. ``inventory``
lists it, ``reader`` gets an image's bytes and ``decode`` its pixels. Nothing here writes.
"""
