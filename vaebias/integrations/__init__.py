"""Use vaebias from PyTorch Lightning and torchmetrics: ``pip install vaebias[lightning]``."""
