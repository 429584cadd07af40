"""How much this bears: many subjects, revocations, sessions and instances on one Redis."""
