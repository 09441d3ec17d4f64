"""How workers are started, signalled and awaited."""
