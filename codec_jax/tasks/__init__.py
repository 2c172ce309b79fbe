"""From a config to a `Task` for the training loop."""
