"""The revocation feed as a model that is small enough to visit every state of it (invariant I1).

The model is written from docs/protocol.md and knows nothing of the product's code; the code walks
its ways in `test_feed_model.py`, so the two cannot part unseen. `python -m tests.model` explores
wider bounds than the tests do; docs/protocol.md says how far that has come.
"""
