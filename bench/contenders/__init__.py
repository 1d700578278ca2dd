"""Applications that all do the same: some Python work on each frame of each track that they hear,
while they play a tone. Each runs as ``python -m bench.contenders.<name>`` in an environment of its
own, and takes its orders from `stage`, which is all that they share.
"""
