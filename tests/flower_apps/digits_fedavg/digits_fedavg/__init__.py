"""Handwritten digits with FedAvg, written with nothing but Flower, PyTorch and scikit-learn."""
