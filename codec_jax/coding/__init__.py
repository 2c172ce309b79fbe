"""From integers to bytes and back: probability tables and the range coder."""
