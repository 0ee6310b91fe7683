"""digits-pytorch: A Flower / PyTorch app."""
