"""Random SQL programs that run on two databases, one of which is captured: writers must not notice any difference.

tests/sql/test_transparency.py and test_truth.py run a few hundred of them, `python -m tests.sql.programs` as many as
wanted.
"""
