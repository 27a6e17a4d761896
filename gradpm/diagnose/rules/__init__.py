"""One rule for each way in which gradients go wrong."""
