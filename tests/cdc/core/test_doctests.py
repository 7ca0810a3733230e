import doctest
import importlib
import pkgutil

import pytest

import cdc.core

_MODULES = [module.name for module in pkgutil.walk_packages(cdc.core.__path__, "cdc.core.")]


@pytest.mark.parametrize("name", _MODULES)
def test_the_examples_in_docstrings_hold(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0
