"""The provider of a managed service: it watches both nodes, promotes, demotes and moves the name.

`decide` says what to do, PURE; `records` is what outlives the process and what it is asked for;
`run` is the process.
"""
