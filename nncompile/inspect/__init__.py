"""What a compiled model tells about itself, and the dump of its stages."""
