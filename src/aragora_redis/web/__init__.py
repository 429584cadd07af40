"""At home in web services: a room for each framework, on ground that knows none of them."""
