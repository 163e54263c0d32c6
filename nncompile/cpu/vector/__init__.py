"""Vector code: the CPU as a value, vectors as LLVM IR, and elementwise functions on them."""
