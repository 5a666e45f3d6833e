"""The Executor protocol on Ray."""
