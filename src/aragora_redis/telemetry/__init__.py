"""What happens, told to operators: listeners on events, none of which the parts know."""
