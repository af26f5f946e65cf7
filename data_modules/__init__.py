"""The data: from ECG files on disk to batches of tensors. Imports nothing of `ecg_transfer`."""
