"""einops's layers: nncompile.einops.layers.torch has them, named as for torch."""
