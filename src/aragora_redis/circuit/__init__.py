"""Circuit breakers: when a dependency is left alone, and who may try it again."""
