"""The promises that only a GPU can keep or break, on tiny random models: `pytest -m gpu`, on a machine that has one.

Each test's body is written for a device. A default run rehearses it on the CPU, so that what a rented card runs has run
before; on a card the fixture `place` gives `cuda`, and everything is compared with the CPU in float32.

What else a GPU must keep is tested in the same way: a new test takes `place`, and loads its models by `place.model`.
"""
