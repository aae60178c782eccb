"""Every pooling and readout, one a file, behind one interface.

``gmpool`` and ``ngmpool`` are the method; ``plain`` has mean, sum and max of the nodes. ``topk``,
``sagpool``, ``diffpool``, ``asap``, ``mempool``, ``bnpool``, ``mincut`` and ``random_groups`` are
the poolings that it is compared with. Given the same weights they equal the layers of PyTorch
Geometric (BN-Pool: of torch-geometric-pool) to 1e-5, and differ from them where a molecule would
suffer:

- nodes that tie are kept or dropped together, so that atom order does not matter;
- nodes are ranked before a squashing function, which makes all large scores equal;
- auxiliary losses are means over graphs of what each graph has alone: neither padding nor the
  size of the batch changes them, and graphs of one node, without edges or without nodes are
  finite;
- BN-Pool takes the mean of its distribution in evaluation.

The others are the readouts of DGL and dgllife. All are made by name:
:func:`dgl_gmpool.get_readout`.
"""

import dgl_gmpool._dgl  # noqa: F401  (DGL, without its side effects)
