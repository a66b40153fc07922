"""Measurements of ragserve beside a baseline in the same run; `RESULTS.md` holds what came out.

Run each as a module from the checkout: `python -m benchmarks.overhead --help`.
"""
