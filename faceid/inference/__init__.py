"""What runs a network, whatever it is for: ONNX graphs and their sessions, exact arithmetic on CUDA, the processor."""
