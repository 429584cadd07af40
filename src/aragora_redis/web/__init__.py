"""At home in a Starlette or FastAPI service: middleware, sessions, problems."""
