"""GPU kernels in Triton, which PyTorch for GPUs brings along; imported where they are first launched."""
