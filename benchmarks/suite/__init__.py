"""The suite: this project beside what a user would pick instead, on one server, in one run.

`sample`, `case`, `verdict`, `results` and `table` are pure. `servers`, `environments`, `workers`,
`rounds` and `plots` act. `worker`, `drive` and `contestants` run in the contestant's own process
and environment, so they use nothing but the standard library and what they measure.
"""
