import doctest
import importlib
import pkgutil

import pytest

import api

_MODULES = [module.name for module in pkgutil.walk_packages(api.__path__, "api.")]


@pytest.mark.parametrize("name", _MODULES)
def test_the_examples_in_docstrings_hold(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0
