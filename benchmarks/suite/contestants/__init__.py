"""One module a contestant: `PACKAGES` whose versions count, and the `TASKS` that it has."""
