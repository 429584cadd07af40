"""The face that users hold, and the tasks that keep its word."""
